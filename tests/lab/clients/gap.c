/* gap FORBIDDEN NAME: until standard input ends, connects to the address FORBIDDEN ten times each
 * millisecond, and once to an address of NAME; a machine that is slower is not waited for. NAME is
 * asked for again before what it gave expires. At the end it prints a line of JSON: what was tried
 * and what passed, what was allowed and refused, and how many connections to FORBIDDEN that was
 * each second. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PORT 9
#define TRIES 10
#define STEP_NS 1000000
#define ASK_SECONDS 2

/* Whether a connection may begin. One that does begin sends a packet, which the far end counts. */
static int passes(int type, const struct sockaddr_in *to)
{
    int fd = socket(AF_INET, type | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    int refused = connect(fd, (const struct sockaddr *)to, sizeof *to) < 0 &&
                  (errno == EACCES || errno == EPERM);
    close(fd);
    return !refused;
}

static int resolve(const char *name, struct sockaddr_in *to)
{
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_DGRAM}, *found;
    if (getaddrinfo(name, NULL, &hints, &found) != 0)
        return -1;
    *to = *(const struct sockaddr_in *)found->ai_addr;
    to->sin_port = htons(PORT);
    freeaddrinfo(found);
    return 0;
}

static double seconds(const struct timespec *from, const struct timespec *to)
{
    return to->tv_sec - from->tv_sec + (to->tv_nsec - from->tv_nsec) / 1e9;
}

int main(int argc, char **argv)
{
    struct sockaddr_in forbidden = {.sin_family = AF_INET, .sin_port = htons(PORT)}, allowed;
    if (argc != 3 || inet_pton(AF_INET, argv[1], &forbidden.sin_addr) != 1)
        return 2;
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    struct timespec from, next, now, asked = {0};
    clock_gettime(CLOCK_MONOTONIC, &from);
    next = from;
    long tried = 0, passed = 0, reached = 0, refused = 0;
    do {
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (asked.tv_sec == 0 || seconds(&asked, &now) > ASK_SECONDS) {
            if (resolve(argv[2], &allowed) < 0)
                return 1;
            clock_gettime(CLOCK_MONOTONIC, &asked);
            puts("asked");
            fflush(stdout);
        }
        for (int i = 0; i < TRIES; i++) {
            int is_passed = passes(SOCK_STREAM, &forbidden);
            if (is_passed < 0)
                return 1;
            tried++, passed += is_passed;
        }
        reached++, refused += passes(SOCK_DGRAM, &allowed) != 1;
        next.tv_nsec += STEP_NS;
        if (next.tv_nsec >= 1000000000)
            next.tv_sec++, next.tv_nsec -= 1000000000;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    } while (poll(&input, 1, 0) == 0);
    clock_gettime(CLOCK_MONOTONIC, &now);
    printf("{\"tried\": %ld, \"passed\": %ld, \"allowed\": %ld, \"refused\": %ld, "
           "\"per_second\": %.0f}\n",
           tried, passed, reached, refused, tried / seconds(&from, &now));
    return 0;
}
