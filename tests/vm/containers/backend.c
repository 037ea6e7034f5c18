/* What stands behind the Services of the tests, on port 8080, TCP and UDP, and on 8081, TCP, for who asks a pod itself;
 * IPv4 and, where the kernel has it, IPv6.
 *
 * TCP: "GET …" is answered as HTTP with the name of the host (in a pod: the pod's) and a newline. Who asked closes: the
 * one that does keeps the connection's ports for a minute, and behind a node that masks addresses and picks ports at
 * random, here it would now and then hit somebody else's. Anything else is a long-lived connection: its first answer is
 * the name and a newline, then each byte comes back.
 * UDP: each datagram is answered with the name and a newline. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PORT = 8080, DIRECT_PORT = 8081, MOST = 4096 };

static char name[258], page[512];
static size_t name_length, page_length;
static char lasting[MOST]; /* by descriptor: has said something that was not a request */
static int polled;

static void end(int signal) {
    (void)signal;
    _exit(0);
}

static void watch(int descriptor) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = descriptor};
    epoll_ctl(polled, EPOLL_CTL_ADD, descriptor, &event);
}

static int opened(int type, int port) {
    struct sockaddr_in6 any6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    int yes = 1, no = 0, six = 1, made = socket(AF_INET6, type | SOCK_NONBLOCK, 0);
    if (made < 0) six = 0, made = socket(AF_INET, type | SOCK_NONBLOCK, 0);
    setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (six) setsockopt(made, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
    if (bind(made, six ? (struct sockaddr *)&any6 : (struct sockaddr *)&any4, six ? sizeof any6 : sizeof any4) ||
        (type == SOCK_STREAM && listen(made, 256))) {
        perror("backend");
        _exit(1);
    }
    watch(made);
    return made;
}

static void accept_all(int listening) {
    int yes = 1, connection;
    while ((connection = accept4(listening, 0, 0, SOCK_NONBLOCK)) >= 0) {
        if (connection >= MOST) {
            close(connection);
            continue;
        }
        setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        lasting[connection] = 0;
        watch(connection);
    }
}

/* talk: false when the connection is over. */
static int talk(int connection) {
    char said[4096];
    ssize_t length = read(connection, said, sizeof said);
    if (length < 0) return errno == EAGAIN;
    if (length == 0) return 0;
    if (!lasting[connection] && length >= 4 && !memcmp(said, "GET ", 4)) {
        return write(connection, page, page_length) > 0;
    }
    if (!lasting[connection]) {
        lasting[connection] = 1;
        return write(connection, name, name_length) > 0;
    }
    return write(connection, said, length) > 0;
}

static void answer_datagrams(int socket) {
    char said[2048];
    struct sockaddr_storage from;
    socklen_t length = sizeof from;
    while (recvfrom(socket, said, sizeof said, 0, (struct sockaddr *)&from, &length) >= 0) {
        sendto(socket, name, name_length, 0, (struct sockaddr *)&from, length);
        length = sizeof from;
    }
}

int main(void) {
    signal(SIGTERM, end);
    signal(SIGINT, end);
    signal(SIGPIPE, SIG_IGN);
    gethostname(name, sizeof name - 2);
    strcat(name, "\n");
    name_length = strlen(name);
    page_length = snprintf(page, sizeof page, "HTTP/1.0 200 OK\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s", name_length, name);
    polled = epoll_create1(0);
    int listening = opened(SOCK_STREAM, PORT), direct = opened(SOCK_STREAM, DIRECT_PORT), datagrams = opened(SOCK_DGRAM, PORT);
    for (;;) {
        struct epoll_event events[64];
        int count = epoll_wait(polled, events, 64, -1);
        for (int i = 0; i < count; i++) {
            int descriptor = events[i].data.fd;
            if (descriptor == listening || descriptor == direct) accept_all(descriptor);
            else if (descriptor == datagrams) answer_datagrams(datagrams);
            else if (!talk(descriptor)) close(descriptor);
        }
    }
}
