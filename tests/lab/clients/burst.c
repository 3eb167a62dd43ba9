/* burst COUNT PARALLEL CHILD PORT: starts CHILD PORT that often, so many at once.
 * Started with one argument, it is the child: one TCP connection to that port of 127.0.0.1. */
#include <arpa/inet.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static int child(const char *port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    /* Refused is as good as accepted: the decision was taken. */
    connect(fd, (struct sockaddr *)&to, sizeof to);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2)
        return child(argv[1]);
    if (argc != 5)
        return 2;
    int count = atoi(argv[1]), parallel = atoi(argv[2]), running = 0, failed = 0;
    char *args[] = {argv[3], argv[4], NULL};
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int started = 0; started < count || running > 0;) {
        if (started < count && running < parallel) {
            pid_t pid;
            failed += posix_spawn(&pid, argv[3], NULL, NULL, args, environ) != 0;
            started++, running++;
            continue;
        }
        int status;
        if (wait(&status) < 0)
            break;
        failed += status != 0;
        running--;
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    double seconds = to.tv_sec - from.tv_sec + (to.tv_nsec - from.tv_nsec) / 1e9;
    printf("{\"pid\": %d, \"count\": %d, \"failed\": %d, \"seconds\": %.3f}\n", getpid(), count,
           failed, seconds);
    return failed != 0;
}
