/* The load: clients that cost so little that what is measured is the server.
 *
 * A load generator in Python costs as much per message as the servers it is put to, so on two cores it and not
 * the server would set the pace, and a server that is not busy looks dearer than it is: it wakes up for each message
 * where a busy one takes fifty with one look. This one does the least a client can do: one thread, one epoll, a
 * `send` and a `recv` a message, and a `memcmp`, because a byte that comes back wrong makes every figure worthless.
 *
 * It is told on standard input what to do, one line a command, and answers each with one line of JSON on standard
 * output. So whoever measures can read the server's CPU time just before and just after, with all connections made.
 *
 *     connect N             have N connections open
 *     echo COUNT SIZE LINE  COUNT messages of SIZE bytes in all, each connection sending its next when the last
 *                           is back whole; with LINE > 0 a message is lines, of LINE bytes with their newline
 *     send SIZE LINE        a message of SIZE bytes on each connection, in lines as above, and then
 *     collect               wait until all of them are back
 *     churn COUNT SIZE AT   COUNT times connect, one echo, close; AT of them at the same time
 *     firehose SIZE         one more connection, writing blocks of SIZE bytes and reading them back without end,
 *                           until there is a next line on standard input, and then to the last byte; answered
 *                           twice: when the first bytes are back, and when all are
 *
 * Anything wrong (a byte, a length, an end, no progress for 30 seconds) is answered {"error": "..."} and is the end.
 * `load.py` understands the same commands, for machines without a C compiler.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    PATIENCE_MS = 30000,
    EVENTS = 512,
    SCRATCH_BYTES = 1 << 18,
    SHIFTS = 251, /* connection i sends the pattern from its byte i % SHIFTS on: a prime, so that no two near are alike */
    CONNECTS_PER_CHECK = 32,
};

struct client {
    int fd;
    int watched; /* the events that epoll was asked for */
    const char *message;
    size_t sent, received;
    uint64_t begun_ns;
};

static struct sockaddr_in server;
static struct client *clients;
static size_t open_count;
static int epoll_fd;
static char *pattern;
static size_t message_bytes;
static char scratch[SCRATCH_BYTES];

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printf("{\"error\": \"");
    vprintf(format, arguments);
    printf("\"}\n");
    va_end(arguments);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size);
    if (!memory)
        fail("no memory for %zu x %zu bytes", count, size);
    return memory;
}

/* What is sent, long enough for every shift of it. With lines there are no shifts: they would move the newlines. */
static void make_pattern(size_t size, size_t line)
{
    free(pattern);
    pattern = allocate(size + SHIFTS, 1);
    for (size_t i = 0; i < size + SHIFTS; i++)
        pattern[i] = line && (i + 1) % line == 0 ? '\n' : (char)('a' + i * 7 % 26 + i / SHIFTS % 6);
    message_bytes = size;
    for (size_t i = 0; i < open_count; i++)
        clients[i].message = pattern + (line ? 0 : i % SHIFTS);
}

static void watch(struct client *client, int events, int operation)
{
    struct epoll_event event = {.events = (uint32_t)events, .data.ptr = client};
    if (epoll_ctl(epoll_fd, operation, client->fd, &event))
        fail("epoll_ctl: %s", strerror(errno));
    client->watched = events;
}

/* A blocking connect: on loopback the kernel completes the handshake within the call. */
static int connected_socket(void)
{
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        fail("socket: %s", strerror(errno));
    if (connect(fd, (struct sockaddr *)&server, sizeof server))
        fail("connect: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void send_more(struct client *client)
{
    while (client->sent < message_bytes) {
        ssize_t count = send(client->fd, client->message + client->sent, message_bytes - client->sent, MSG_NOSIGNAL);
        if (count < 0 && errno == EAGAIN)
            break;
        if (count < 0)
            fail("send: %s", strerror(errno));
        client->sent += (size_t)count;
    }
    int wanted = client->sent < message_bytes ? EPOLLIN | EPOLLOUT : EPOLLIN;
    if (wanted != client->watched)
        watch(client, wanted, EPOLL_CTL_MOD);
}

static void begin(struct client *client)
{
    client->sent = client->received = 0;
    client->begun_ns = now_ns();
    send_more(client);
}

/* Takes what has come and compares it; whether the message is back whole. */
static int receive(struct client *client)
{
    ssize_t count = recv(client->fd, scratch, sizeof scratch, 0);
    if (count < 0 && errno == EAGAIN)
        return 0;
    if (count < 0)
        fail("recv: %s", strerror(errno));
    if (count == 0)
        fail("the server closed a connection after %zu of %zu bytes", client->received, message_bytes);
    if (client->received + (size_t)count > client->sent)
        fail("more bytes came back than were sent");
    if (memcmp(scratch, client->message + client->received, (size_t)count))
        fail("other bytes came back than were sent");
    client->received += (size_t)count;
    return client->received == message_bytes;
}

static int ready(struct epoll_event *events)
{
    int count = epoll_wait(epoll_fd, events, EVENTS, PATIENCE_MS);
    if (count < 0 && errno != EINTR)
        fail("epoll_wait: %s", strerror(errno));
    if (count == 0)
        fail("no reply within %d s", PATIENCE_MS / 1000);
    return count;
}

static int by_size(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static double microseconds(const uint64_t *sorted, size_t count, double share)
{
    return (double)sorted[(size_t)((double)(count - 1) * share)] / 1000.0;
}

static void report(double seconds, uint64_t *latencies, size_t count)
{
    qsort(latencies, count, sizeof *latencies, by_size);
    printf("{\"seconds\": %.9f, \"p50\": %.3f, \"p90\": %.3f, \"p99\": %.3f, \"p99.9\": %.3f, \"max\": %.3f}\n", seconds,
           microseconds(latencies, count, 0.5), microseconds(latencies, count, 0.9),
           microseconds(latencies, count, 0.99), microseconds(latencies, count, 0.999),
           microseconds(latencies, count, 1.0));
}

static void echo(size_t count)
{
    uint64_t *latencies = allocate(count, sizeof *latencies);
    struct epoll_event events[EVENTS];
    size_t begun = 0, done = 0;
    uint64_t start_ns = now_ns(), end_ns = start_ns;
    if (!open_count)
        fail("echo without connections");
    for (; begun < open_count && begun < count; begun++)
        begin(&clients[begun]);
    while (done < count) {
        int number = ready(events);
        for (int i = 0; i < number; i++) {
            struct client *client = events[i].data.ptr;
            if (client->watched & EPOLLOUT)
                send_more(client);
            if (!(events[i].events & ~(uint32_t)EPOLLOUT) || !receive(client))
                continue;
            end_ns = now_ns();
            latencies[done++] = end_ns - client->begun_ns;
            if (begun < count) {
                begun++;
                begin(client);
            }
        }
    }
    report((double)(end_ns - start_ns) / 1e9, latencies, count);
    free(latencies);
}

/* The two halves of a volley: between them, whoever measures may let go of a server that was stopped. */
static void send_volley(void)
{
    for (size_t i = 0; i < open_count; i++)
        begin(&clients[i]);
    printf("{\"sent\": %zu}\n", open_count);
}

static void collect(void)
{
    struct epoll_event events[EVENTS];
    size_t done = 0;
    while (done < open_count) {
        int number = ready(events);
        for (int i = 0; i < number; i++) {
            struct client *client = events[i].data.ptr;
            if (client->watched & EPOLLOUT)
                send_more(client);
            done += (events[i].events & ~(uint32_t)EPOLLOUT) && receive(client);
        }
    }
    printf("{\"received\": %zu}\n", done);
}

static void open_client(struct client *client)
{
    client->fd = connected_socket();
    watch(client, EPOLLIN, EPOLL_CTL_ADD);
}

/* Now and then one of the new ones asks for an echo: a queue of unaccepted connections that overflows costs a second. */
static void open_clients(size_t wanted)
{
    struct epoll_event events[EVENTS];
    clients = realloc(clients, wanted * sizeof *clients);
    if (!clients || wanted < open_count)
        fail("cannot go from %zu to %zu connections", open_count, wanted);
    for (size_t i = 0; i < open_count; i++) /* realloc may have moved them */
        watch(&clients[i], EPOLLIN, EPOLL_CTL_MOD);
    make_pattern(1, 1);
    for (; open_count < wanted; open_count++) {
        struct client *client = &clients[open_count];
        *client = (struct client){.message = pattern};
        open_client(client);
        if (open_count % CONNECTS_PER_CHECK && open_count + 1 < wanted)
            continue;
        begin(client);
        do
            ready(events);
        while (!receive(client));
    }
    printf("{\"connections\": %zu}\n", open_count);
}

static void churn(size_t count, size_t at_once)
{
    uint64_t *latencies = allocate(count, sizeof *latencies);
    struct client *guests = allocate(at_once, sizeof *guests);
    struct epoll_event events[EVENTS];
    size_t begun = 0, done = 0;
    uint64_t start_ns = now_ns();
    for (; begun < at_once && begun < count; begun++) {
        guests[begun].message = pattern;
        open_client(&guests[begun]);
        begin(&guests[begun]);
    }
    while (done < count) {
        int number = ready(events);
        for (int i = 0; i < number; i++) {
            struct client *guest = events[i].data.ptr;
            if (guest->watched & EPOLLOUT)
                send_more(guest);
            if (!receive(guest))
                continue;
            latencies[done++] = now_ns() - guest->begun_ns;
            close(guest->fd);
            if (begun < count) {
                begun++;
                open_client(guest);
                begin(guest);
            }
        }
    }
    report((double)(now_ns() - start_ns) / 1e9, latencies, count);
    free(latencies);
    free(guests);
}

static void firehose(size_t size)
{
    struct client hose = {.fd = connected_socket()};
    struct pollfd fds[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = hose.fd, .events = POLLIN | POLLOUT}};
    uint64_t start_ns = now_ns(), end_ns = 0, received = 0, counted = 0, sent = 0;
    make_pattern(size, 0);
    while (!end_ns || received < sent) { /* who leaves bytes unread resets the connection: not what is tested here */
        if (poll(fds, 2, PATIENCE_MS) == 0)
            fail("the firehose stood still for %d s", PATIENCE_MS / 1000);
        if (fds[0].revents) {
            end_ns = now_ns();
            counted = received;
            fds[0].fd = -1;
            fds[1].events = POLLIN;
            fds[1].revents &= ~POLLOUT;
        }
        if (fds[1].revents & POLLOUT) {
            ssize_t count = send(hose.fd, pattern + sent % size, size - sent % size, MSG_NOSIGNAL);
            if (count < 0 && errno != EAGAIN)
                fail("send: %s", strerror(errno));
            sent += count > 0 ? (uint64_t)count : 0;
        }
        if (fds[1].revents & ~POLLOUT) {
            size_t at = received % size, rest = size - at;
            ssize_t count = recv(hose.fd, scratch, rest < sizeof scratch ? rest : sizeof scratch, 0);
            if (count == 0 || (count < 0 && errno != EAGAIN))
                fail("the firehose was cut off");
            if (count > 0 && memcmp(scratch, pattern + at, (size_t)count))
                fail("other bytes came back than were sent");
            if (count > 0 && !received)
                printf("{\"flowing\": true}\n");
            received += count > 0 ? (uint64_t)count : 0;
        }
    }
    printf("{\"seconds\": %.9f, \"bytes\": %llu}\n", (double)(end_ns - start_ns) / 1e9, (unsigned long long)counted);
    close(hose.fd);
}

int main(int argc, char **argv)
{
    char line[256];
    unsigned long count, size, last;
    if (argc != 2)
        return fprintf(stderr, "usage: load PORT\n"), 2;
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    setvbuf(stdout, NULL, _IOLBF, 0);
    setvbuf(stdin, NULL, _IONBF, 0); /* `firehose` polls the descriptor: no line may hide in a buffer */
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "connect %lu", &count) == 1) {
            open_clients(count);
        } else if (sscanf(line, "echo %lu %lu %lu", &count, &size, &last) == 3 && count && size) {
            make_pattern(size, last);
            echo(count);
        } else if (sscanf(line, "send %lu %lu", &size, &last) == 2 && size) {
            make_pattern(size, last);
            send_volley();
        } else if (strcmp(line, "collect\n") == 0) {
            collect();
        } else if (sscanf(line, "churn %lu %lu %lu", &count, &size, &last) == 3 && count && size && last) {
            make_pattern(size, 0);
            churn(count, last);
        } else if (sscanf(line, "firehose %lu", &size) == 1 && size) {
            firehose(size);
        } else if (line[0] != '\n') {
            fail("no such command");
        }
    }
    return 0;
}
