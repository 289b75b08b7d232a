/* The limit: the same echo in C on epoll, with nothing in it that an echo could do without.
 *
 * No error handling beyond closing, no buffers, no limits: what remains is the kernel's part, which any server has to
 * pay. What another server uses beyond this is its own. Its sockets block, so that `send` takes all of a message
 * however full the kernel is; a client that does not read would stop it, and the load always reads.
 *
 * Usage: epoll_echo echo|lines. With `lines` it answers with whole lines only and keeps the rest, as a program would.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 1024, RECEIVE_BYTES = 65536, BACKLOG = 4096, LONGEST_LINE = 4096 };

struct partial {
    size_t length;
    char bytes[LONGEST_LINE];
};

static char buffer[LONGEST_LINE + RECEIVE_BYTES];
static struct partial **partials; /* by descriptor: the beginning of a line; made when there is one to keep */

static ssize_t whole_lines(int fd, ssize_t count)
{
    struct partial *partial = partials[fd];
    char *data = buffer + LONGEST_LINE, *end;
    if (partial && partial->length) {
        data -= partial->length;
        memcpy(data, partial->bytes, partial->length);
        count += (ssize_t)partial->length;
        partial->length = 0;
    }
    end = memrchr(data, '\n', (size_t)count);
    size_t whole = end ? (size_t)(end + 1 - data) : 0, rest = (size_t)count - whole;
    if (rest > LONGEST_LINE || (rest && !partial && !(partial = partials[fd] = calloc(1, sizeof *partial))))
        return -1;
    if (rest) {
        partial->length = rest;
        memcpy(partial->bytes, data + whole, rest);
    }
    return !whole || send(fd, data, whole, MSG_NOSIGNAL) == (ssize_t)whole ? 1 : -1;
}

static void serve(int epoll_fd, int fd, int lines)
{
    char *data = buffer + LONGEST_LINE;
    ssize_t count = recv(fd, data, RECEIVE_BYTES, 0);
    if (count > 0)
        count = lines ? whole_lines(fd, count) : send(fd, data, (size_t)count, MSG_NOSIGNAL);
    if (count > 0)
        return;
    free(partials[fd]);
    partials[fd] = NULL;
    epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, NULL);
    close(fd);
}

static void take(int epoll_fd, int listener)
{
    int on = 1, fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (fd < 0)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    struct rlimit descriptors;
    struct epoll_event events[EVENTS];
    int lines = argc == 2 && strcmp(argv[1], "lines") == 0;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    getrlimit(RLIMIT_NOFILE, &descriptors);
    partials = calloc(descriptors.rlim_cur, sizeof *partials);
    if (!partials || bind(listener, (struct sockaddr *)&address, length) || listen(listener, BACKLOG))
        return perror("epoll_echo"), 1;
    getsockname(listener, (struct sockaddr *)&address, &length);
    fprintf(stderr, "epoll_echo: listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < count; i++)
            if (events[i].data.fd == listener)
                take(epoll_fd, listener);
            else
                serve(epoll_fd, events[i].data.fd, lines);
    }
}
