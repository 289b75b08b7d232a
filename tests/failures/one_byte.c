/* All that a program may rely on is that recv(2) and send(2) move at least one byte, or fail. In front of libc this
   library makes it exactly one: in those of the two that the variable ONE_BYTE names, for every TCP socket. See
   injection.py. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static int is_meant(int fd, const char *direction)
{
    const char *meant = getenv("ONE_BYTE");
    if (!meant || !strstr(meant, direction))
        return 0;
    int domain = 0, before = errno;
    socklen_t size = sizeof domain;
    int known = getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0;
    errno = before;
    return known && (domain == AF_INET || domain == AF_INET6);
}

static size_t shortened(int fd, size_t size, const char *direction)
{
    return size > 1 && is_meant(fd, direction) ? 1 : size;
}

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

ssize_t recv(int fd, void *data, size_t size, int flags)
{
    REAL(recv);
    return real(fd, data, shortened(fd, size, "recv"), flags);
}

ssize_t recvfrom(int fd, void *data, size_t size, int flags, struct sockaddr *address, socklen_t *length)
{
    REAL(recvfrom);
    return real(fd, data, shortened(fd, size, "recv"), flags, address, length);
}

ssize_t read(int fd, void *data, size_t size)
{
    REAL(read);
    return real(fd, data, shortened(fd, size, "recv"));
}

ssize_t send(int fd, const void *data, size_t size, int flags)
{
    REAL(send);
    return real(fd, data, shortened(fd, size, "send"), flags);
}

ssize_t write(int fd, const void *data, size_t size)
{
    REAL(write);
    return real(fd, data, shortened(fd, size, "send"));
}

/* Of many pieces, the first byte of the first that has one. */
static struct iovec first_byte(const struct iovec *pieces, size_t count)
{
    struct iovec piece = {0, 0};
    for (size_t i = 0; i < count && piece.iov_len == 0; i++)
        piece = pieces[i];
    if (piece.iov_len > 1)
        piece.iov_len = 1;
    return piece;
}

ssize_t writev(int fd, const struct iovec *pieces, int count)
{
    REAL(writev);
    struct iovec piece = first_byte(pieces, count);
    return is_meant(fd, "send") ? real(fd, &piece, 1) : real(fd, pieces, count);
}

ssize_t readv(int fd, const struct iovec *pieces, int count)
{
    REAL(readv);
    struct iovec piece = first_byte(pieces, count);
    return is_meant(fd, "recv") ? real(fd, &piece, 1) : real(fd, pieces, count);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    REAL(sendmsg);
    struct iovec piece = first_byte(message->msg_iov, message->msg_iovlen);
    struct msghdr shorter = *message;
    shorter.msg_iov = &piece;
    shorter.msg_iovlen = 1;
    return real(fd, is_meant(fd, "send") ? &shorter : message, flags);
}
