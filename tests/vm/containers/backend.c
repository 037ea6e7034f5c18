/* Answers every HTTP request on port 8080 with the name of its host (in a pod: the pod's) and a newline. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void end(int signal) {
    (void)signal;
    _exit(0);
}

int main(void) {
    signal(SIGTERM, end);
    signal(SIGPIPE, SIG_IGN);
    char name[256] = "", request[4096], answer[512];
    gethostname(name, sizeof name - 1);
    int length = snprintf(answer, sizeof answer, "HTTP/1.0 200 OK\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s\n", strlen(name) + 1, name);
    int yes = 1, listening = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(8080), .sin_addr.s_addr = INADDR_ANY};
    setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listening, (struct sockaddr *)&address, sizeof address) || listen(listening, 64)) {
        perror("backend");
        return 1;
    }
    for (;;) {
        int connection = accept(listening, 0, 0);
        if (connection < 0) continue;
        if (read(connection, request, sizeof request) > 0 && write(connection, answer, length) < 0) perror("write");
        close(connection);
    }
}
