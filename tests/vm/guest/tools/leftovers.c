// What the test of leftovers needs in a guest, by the name it is called by:
//   kube-proxy PORT FOLDER             answers /proxyMode with FOLDER/mode and /metrics with FOLDER/metrics
//   echo-server ADDRESS PORT           sends back what it is sent, over TCP and UDP
//   virtual-server tcp|udp ADDRESS PORT [ADDRESS PORT]…    adds one with its real servers
//   virtual-server flush               removes all
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/genetlink.h>
#include <linux/ip_vs.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <signal.h>

static void die(const char *what) {
    perror(what);
    exit(1);
}

// --- sockets of either family

static socklen_t place(struct sockaddr_storage *at, const char *address, int port) {
    struct sockaddr_in *four = (void *)at;
    struct sockaddr_in6 *six = (void *)at;
    memset(at, 0, sizeof *at);
    if (inet_pton(AF_INET, address, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons(port);
        return sizeof *four;
    }
    if (inet_pton(AF_INET6, address, &six->sin6_addr) != 1) die(address);
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(port);
    return sizeof *six;
}

static int bound(int type, const char *address, int port) {
    struct sockaddr_storage at;
    socklen_t length = place(&at, address, port);
    int fd = socket(at.ss_family, type, 0), one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (void *)&at, length) || (type == SOCK_STREAM && listen(fd, 64))) die("bind");
    return fd;
}

// --- kube-proxy

static void answer(int fd, const char *folder) {
    char request[1024], path[256], body[4096];
    ssize_t got = read(fd, request, sizeof request - 1), length = -1;
    request[got > 0 ? got : 0] = 0;
    const char *file = strstr(request, "GET /proxyMode ") ? "mode" : strstr(request, "GET /metrics ") ? "metrics" : "none";
    snprintf(path, sizeof path, "%s/%s", folder, file);
    int from = open(path, O_RDONLY);
    if (from >= 0) length = read(from, body, sizeof body);
    if (length >= 0) {
        dprintf(fd, "HTTP/1.0 200 OK\r\nContent-Length: %zd\r\n\r\n%.*s", length, (int)length, body);
    } else {
        dprintf(fd, "HTTP/1.0 404 Not Found\r\n\r\n");
    }
}

static void kube_proxy(char **argument) {
    int server = bound(SOCK_STREAM, "127.0.0.1", atoi(argument[1]));
    for (;;) {
        int fd = accept(server, 0, 0);
        if (fd < 0) continue;
        answer(fd, argument[2]);
        close(fd);
    }
}

// --- echo

static void echo(char **argument) {
    char data[2048];
    int port = atoi(argument[2]);
    struct pollfd ready[2] = {{bound(SOCK_STREAM, argument[1], port), POLLIN, 0}, {bound(SOCK_DGRAM, argument[1], port), POLLIN, 0}};
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        if (poll(ready, 2, -1) < 1) continue;
        if (ready[1].revents) {
            struct sockaddr_storage from;
            socklen_t length = sizeof from;
            ssize_t got = recvfrom(ready[1].fd, data, sizeof data, 0, (void *)&from, &length);
            if (got >= 0) sendto(ready[1].fd, data, got, 0, (void *)&from, length);
        }
        if (ready[0].revents) {
            int fd = accept(ready[0].fd, 0, 0);
            if (fork() == 0) {
                ssize_t got;
                while ((got = read(fd, data, sizeof data)) > 0)
                    if (write(fd, data, got) != got) break;
                exit(0);
            }
            close(fd);
        }
    }
}

// --- virtual-server

static char message[4096];

static struct nlattr *attribute(int kind, const void *data, int length) {
    struct nlmsghdr *head = (void *)message;
    struct nlattr *attribute = (void *)(message + NLMSG_ALIGN(head->nlmsg_len));
    attribute->nla_type = kind;
    attribute->nla_len = NLA_HDRLEN + length;
    if (data) memcpy((char *)attribute + NLA_HDRLEN, data, length);
    head->nlmsg_len = NLMSG_ALIGN(head->nlmsg_len) + NLA_ALIGN(attribute->nla_len);
    return attribute;
}

static void ends(struct nlattr *nest) {
    nest->nla_len = message + ((struct nlmsghdr *)message)->nlmsg_len - (char *)nest;
    nest->nla_type |= NLA_F_NESTED;
}

static void begin(int kind, int command) {
    memset(message, 0, sizeof message);
    struct nlmsghdr *head = (void *)message;
    struct genlmsghdr *generic = NLMSG_DATA(head);
    head->nlmsg_type = kind;
    head->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    head->nlmsg_len = NLMSG_LENGTH(GENL_HDRLEN);
    generic->cmd = command;
    generic->version = 1;
}

static char answered[8192];

static int ask(int fd) {
    if (send(fd, message, ((struct nlmsghdr *)message)->nlmsg_len, 0) < 0) die("send");
    for (;;) {
        int got = recv(fd, answered, sizeof answered, 0);
        if (got < 0) die("recv");
        struct nlmsghdr *head = (void *)answered;
        if (head->nlmsg_type == NLMSG_ERROR) return -((struct nlmsgerr *)NLMSG_DATA(head))->error;
        // The acknowledgement follows.
        if (head->nlmsg_type == GENL_ID_CTRL) {
            char copy[sizeof answered];
            memcpy(copy, answered, sizeof copy);
            recv(fd, answered, sizeof answered, 0);
            memcpy(answered, copy, sizeof copy);
            return 0;
        }
    }
}

static int family(int fd) {
    begin(GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
    attribute(CTRL_ATTR_FAMILY_NAME, IPVS_GENL_NAME, sizeof IPVS_GENL_NAME);
    if (ask(fd)) return -1;
    char *at = answered + NLMSG_LENGTH(GENL_HDRLEN), *end = answered + ((struct nlmsghdr *)answered)->nlmsg_len;
    for (; at < end; at += NLA_ALIGN(((struct nlattr *)at)->nla_len))
        if (((struct nlattr *)at)->nla_type == CTRL_ATTR_FAMILY_ID) return *(__u16 *)(at + NLA_HDRLEN);
    return -1;
}

static void address(int kind, const char *text, __u16 *found) {
    char bytes[16] = {0};
    *found = strchr(text, ':') ? AF_INET6 : AF_INET;
    if (inet_pton(*found, text, bytes) != 1) die(text);
    attribute(kind, bytes, sizeof bytes);
}

static void service(char **argument, int whole) {
    __u16 found, protocol = strcmp(argument[1], "udp") ? IPPROTO_TCP : IPPROTO_UDP, port = htons(atoi(argument[3]));
    struct nlattr *nest = attribute(IPVS_CMD_ATTR_SERVICE, 0, 0);
    address(IPVS_SVC_ATTR_ADDR, argument[2], &found);
    attribute(IPVS_SVC_ATTR_AF, &found, 2);
    attribute(IPVS_SVC_ATTR_PROTOCOL, &protocol, 2);
    attribute(IPVS_SVC_ATTR_PORT, &port, 2);
    if (whole) {
        struct ip_vs_flags flags = {0, ~0};
        __u32 timeout = 0, netmask = found == AF_INET6 ? 128 : 0xffffffff;
        attribute(IPVS_SVC_ATTR_SCHED_NAME, "rr", 3);
        attribute(IPVS_SVC_ATTR_FLAGS, &flags, sizeof flags);
        attribute(IPVS_SVC_ATTR_TIMEOUT, &timeout, 4);
        attribute(IPVS_SVC_ATTR_NETMASK, &netmask, 4);
    }
    ends(nest);
}

static int virtual_server(char **argument) {
    int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC), kind = family(fd), error;
    if (kind < 0) return fprintf(stderr, "no IPVS\n"), 1;
    if (!strcmp(argument[1], "flush")) {
        begin(kind, IPVS_CMD_FLUSH);
        return ask(fd);
    }
    begin(kind, IPVS_CMD_NEW_SERVICE);
    service(argument, 1);
    if ((error = ask(fd))) return fprintf(stderr, "%s: %s\n", argument[2], strerror(error)), 1;
    for (char **real = argument + 4; real[0] && real[1]; real += 2) {
        __u16 found, port = htons(atoi(real[1]));
        __u32 zero = 0, weight = 1;
        begin(kind, IPVS_CMD_NEW_DEST);
        service(argument, 0);
        struct nlattr *nest = attribute(IPVS_CMD_ATTR_DEST, 0, 0);
        address(IPVS_DEST_ATTR_ADDR, real[0], &found);
        attribute(IPVS_DEST_ATTR_ADDR_FAMILY, &found, 2);
        attribute(IPVS_DEST_ATTR_PORT, &port, 2);
        attribute(IPVS_DEST_ATTR_FWD_METHOD, &zero, 4);
        attribute(IPVS_DEST_ATTR_WEIGHT, &weight, 4);
        attribute(IPVS_DEST_ATTR_U_THRESH, &zero, 4);
        attribute(IPVS_DEST_ATTR_L_THRESH, &zero, 4);
        ends(nest);
        if ((error = ask(fd))) return fprintf(stderr, "%s: %s\n", real[0], strerror(error)), 1;
    }
    return 0;
}

int main(int count, char **argument) {
    const char *name = strrchr(argument[0], '/') ? strrchr(argument[0], '/') + 1 : argument[0];
    if (count < 2) return 2;
    if (!strcmp(name, "kube-proxy")) kube_proxy(argument);
    if (!strcmp(name, "echo-server")) echo(argument);
    return virtual_server(argument);
}
