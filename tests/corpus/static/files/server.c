/* Tells who it is and how it was started, over HTTP, on port 8082. */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void end(int signal)
{
    (void)signal;
    _exit(0);
}

static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value ? value : "";
}

int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(8082)};
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    signal(SIGTERM, end);
    signal(SIGPIPE, SIG_IGN);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16)) {
        perror("cannot listen on port 8082");
        return 1;
    }
    fprintf(stderr, "listening on port 8082\n");
    for (;;) {
        char request[4096], directory[256] = "", answer[2048];
        int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        FILE *kept;

        if (connection < 0)
            continue;
        if (read(connection, request, sizeof request) > 0) {
            if (!getcwd(directory, sizeof directory))
                directory[0] = 0;
            kept = fopen("note", "w");
            if (kept)
                fclose(kept);
            snprintf(answer, sizeof answer,
                     "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
                     "version=%s\nuser=%d:%d\nhome=%s\ndirectory=%s\nwritable=%s\n",
                     variable("IMAGE_VERSION"), getuid(), getgid(), variable("HOME"), directory, kept ? "yes" : "no");
            if (write(connection, answer, strlen(answer)) < 0)
                perror("cannot answer");
        }
        shutdown(connection, SHUT_WR);
        while (read(connection, request, sizeof request) > 0)
            ;
        close(connection);
    }
}
