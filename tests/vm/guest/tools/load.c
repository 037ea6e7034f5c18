/* A client that never pauses: load PLACE LIST OUT EVERY BURST KEEP FIRST
 *
 * Every EVERY milliseconds it opens BURST new connections, to the targets of LIST in turns; besides it keeps KEEP TCP
 * connections open that exchange a byte every 100 ms. One process, no threads: new processes are what a guest is slow
 * at. Ends at SIGTERM, when what is under way has ended as well.
 *
 * Each new connection has a source port of this process's own, PORTS from FIRST on, not used for minutes. The kernel's own
 * choice may give two connections to two Services the same port, which is right, as they go to different addresses; but
 * if both end at the same backend, IPVS makes them one to it, and the second hangs: it changes no source port, and masked
 * by a node's address those from its pods and from outside meet as well. With all Services before the same two backends
 * that was 2 in 100 here, in a cluster that always ran ipvs as well.
 *
 * Time in which this process did not get to run, on a machine with too much to do, is nobody's delay: beyond 200 ms it is
 * logged, and not counted against a connection.
 * OUT.log: each failure with the node's uptime; and what took more than a second where nothing but the machine is in the way
 * (LIST's option "direct"). OUT.now: asked, lost, and connections kept, once a second.
 * OUT.sum, at the end:
 *   new PLACE NAME ok refused reset hanging other leaked slow longest-ms backends
 *   kept PLACE NAME opened broken stalled longest-silence-ms
 *   place PLACE asked lost seconds cpu-ms longest-ms-it-did-not-run
 * "hanging": no answer within DEADLINE. "slow": answered after more than a second, so a packet was lost on the way or
 * the machine was busy; no loss, but worth seeing. TCP asks again after a second by itself; with UDP it is the program
 * that does, as resolvers do, from the same port: so does this one. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { DEADLINE = 5000, DENIED = 1000, BEAT = 100, STALLED = 10000, AGAIN = 1000, LATE = 200, SLOTS = 2048, TARGETS = 256, NAMES = 8, PORTS = 8000 };
enum outcome { OK, REFUSED, RESET, HANGING, OTHER, LEAKED, OUTCOMES };
static const char *words[] = {"ok", "refused", "reset", "hanging", "other", "leaked"};

struct target {
    char name[64], answered_by[NAMES][64];
    int udp, deny, brief, direct, backends;
    struct sockaddr_storage address;
    socklen_t length;
    long count[OUTCOMES], slow, longest, opened, broken, stalled, silence;
};

/* A connection: new ones end with their answer, kept ones (kept > 0) go from 1, asked, to 2, named. asked counts. */
struct slot {
    int descriptor, port, kept, asked, waiting;
    struct target *target;
    long since, asleep; /* asleep: how much this process had not run by then */
};

static struct target targets[TARGETS];
static struct slot slots[SLOTS];
static int target_count, polled, keeping, first_port, rate;
static long asked, lost, asleep;
static const char *place;
static FILE *failures;
static volatile sig_atomic_t ending;

static void end(int signal) {
    (void)signal;
    ending = 1;
}

static long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_BOOTTIME, &time);
    return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static void read_targets(const char *path) {
    FILE *list = fopen(path, "r");
    char line[256], protocol[8], address[64], option[16];
    int port;
    if (!list) perror(path), exit(2);
    while (target_count < TARGETS && fgets(line, sizeof line, list)) {
        struct target *target = &targets[target_count];
        struct sockaddr_in *four = (void *)&target->address;
        struct sockaddr_in6 *six = (void *)&target->address;
        option[0] = 0;
        if (sscanf(line, "%63s %7s %63s %d %15s", target->name, protocol, address, &port, option) < 4) continue;
        target->udp = !strcmp(protocol, "udp");
        target->deny = !strcmp(option, "deny");
        target->brief = !strcmp(option, "brief");
        target->direct = !strcmp(option, "direct");
        if (inet_pton(AF_INET, address, &four->sin_addr) == 1) {
            four->sin_family = AF_INET, four->sin_port = htons(port), target->length = sizeof *four;
        } else if (inet_pton(AF_INET6, address, &six->sin6_addr) == 1) {
            six->sin6_family = AF_INET6, six->sin6_port = htons(port), target->length = sizeof *six;
        } else {
            fprintf(stderr, "no address: %s", line), exit(2);
        }
        target_count++;
    }
    fclose(list);
}

static void leave(struct slot *slot) {
    close(slot->descriptor);
    slot->descriptor = -1;
}

/* A new connection came to its end. */
static void done(struct slot *slot, enum outcome outcome, int error) {
    struct target *target = slot->target;
    long took = now() - slot->since - (asleep - slot->asleep);
    if (target->deny) outcome = outcome == OK ? LEAKED : OK;
    target->count[outcome]++;
    if (outcome != OK) {
        lost++;
        fprintf(failures, "%.3f %s %s %s after %ld ms, from port %d%s%s\n", now() / 1000.0, place, target->name, words[outcome], took, slot->port,
                error ? ": " : "", error ? strerror(error) : "");
    } else if (!target->deny) {
        if (took > 1000) {
            target->slow++;
            if (target->direct) fprintf(failures, "%.3f %s %s slow after %ld ms\n", now() / 1000.0, place, target->name, took);
        }
        if (took > target->longest) target->longest = took;
    }
    leave(slot);
}

/* A kept connection came to an end that nobody wanted. */
static void broke(struct slot *slot, const char *how) {
    if (slot->kept == 1) slot->target->opened++; /* never got as far, and still counts */
    if (how) slot->target->broken++;
    else slot->target->stalled++;
    keeping--;
    fprintf(failures, "%.3f %s %s kept connection %s\n", now() / 1000.0, place, slot->target->name, how ? how : "stalled");
    leave(slot);
}

static void failed(struct slot *slot, int error) {
    enum outcome outcome = error == ECONNREFUSED ? REFUSED : error == ECONNRESET || error == EPIPE ? RESET : error == ETIMEDOUT ? HANGING : OTHER;
    if (slot->kept) broke(slot, strerror(error));
    else done(slot, outcome, error);
}

/* own_port: the next one that is free on this host. */
static int own_port(int descriptor, int family) {
    /* By the clock, so that the next process does not begin with the ports of this one, whatever the rate of each. */
    static long used;
    if (!used) used = now() * (rate > 50 ? rate : 50) / 1000;
    struct sockaddr_in four = {.sin_family = AF_INET};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6};
    for (int tries = 0; tries < 1000; tries++) {
        int port = first_port + used++ % PORTS;
        four.sin_port = six.sin6_port = htons(port);
        if (!bind(descriptor, family == AF_INET ? (struct sockaddr *)&four : (struct sockaddr *)&six, family == AF_INET ? sizeof four : sizeof six)) return port;
    }
    perror("bind");
    exit(3);
}

static void start(struct target *target, int kept) {
    struct slot *slot = 0;
    for (int i = 0; i < SLOTS && !slot; i++)
        if (slots[i].descriptor < 0) slot = &slots[i];
    if (!slot) fprintf(stderr, "more than %d connections at a time\n", SLOTS), exit(3);
    *slot = (struct slot){.target = target, .kept = kept, .since = now(), .asleep = asleep};
    slot->descriptor = socket(target->address.ss_family, (target->udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK, 0);
    if (slot->descriptor < 0) perror("socket"), exit(3);
    slot->port = own_port(slot->descriptor, target->address.ss_family);
    if (kept) {
        int yes = 1;
        setsockopt(slot->descriptor, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        keeping++;
    } else {
        asked++;
    }
    if (connect(slot->descriptor, (struct sockaddr *)&target->address, target->length) && errno != EINPROGRESS) {
        failed(slot, errno);
        return;
    }
    if (target->udp) {
        slot->asked = 1;
        if (write(slot->descriptor, "x", 1) < 0) {
            failed(slot, errno);
            return;
        }
    }
    struct epoll_event event = {.events = target->udp ? EPOLLIN : EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = slot};
    epoll_ctl(polled, EPOLL_CTL_ADD, slot->descriptor, &event);
}

static void remember(struct target *target, char *said) {
    char *name = strstr(said, "\r\n\r\n");
    name = name ? name + 4 : said;
    name[strcspn(name, "\n")] = 0;
    for (int i = 0; i < target->backends; i++)
        if (!strcmp(target->answered_by[i], name)) return;
    if (target->backends < NAMES) snprintf(target->answered_by[target->backends++], 64, "%s", name);
}

static void event(struct slot *slot, unsigned events) {
    char said[512];
    if (slot->descriptor < 0) return;
    if (events & EPOLLERR) {
        int error = 0;
        socklen_t length = sizeof error;
        getsockopt(slot->descriptor, SOL_SOCKET, SO_ERROR, &error, &length);
        if (error) {
            failed(slot, error);
            return;
        }
    }
    if (!slot->asked && events & EPOLLOUT) {
        slot->asked = 1;
        const char *say = slot->kept ? "hold\n" : "GET / HTTP/1.0\r\n\r\n";
        if (write(slot->descriptor, say, strlen(say)) < 0) {
            failed(slot, errno);
            return;
        }
    }
    if (!(events & (EPOLLIN | EPOLLHUP))) return;
    ssize_t length = read(slot->descriptor, said, sizeof said - 1);
    if (length < 0 && errno == EAGAIN) return;
    if (length <= 0) {
        failed(slot, length < 0 ? errno : ECONNRESET);
        return;
    }
    said[length] = 0;
    if (!slot->kept) {
        /* Any HTTP will do: the API server answers 400 to a request without TLS. */
        if (!slot->target->udp && strncmp(said, "HTTP/1.", 7)) done(slot, OTHER, EPROTO);
        else remember(slot->target, said), done(slot, OK, 0);
    } else if (slot->kept == 1) {
        slot->kept = 2, slot->target->opened++;
        remember(slot->target, said);
    } else {
        long silence = now() - slot->since - (asleep - slot->asleep);
        if (silence > slot->target->silence) slot->target->silence = silence;
        slot->waiting = 0;
    }
}

static void wait_until(long time) {
    for (;;) {
        struct epoll_event events[128];
        long left = time - now();
        int count = epoll_wait(polled, events, 128, left > 0 ? left : 0);
        for (int i = 0; i < count; i++) event(events[i].data.ptr, events[i].events);
        if (left <= 0 && count <= 0) return;
    }
}

/* look_after: ends what has waited too long, lets the kept ones talk; returns how many new ones are under way. */
static int look_after(int beat) {
    long time = now();
    int open = 0;
    for (int i = 0; i < SLOTS; i++) {
        struct slot *slot = &slots[i];
        if (slot->descriptor < 0) continue;
        long took = time - slot->since - (asleep - slot->asleep);
        if (!slot->kept) {
            if (took > (slot->target->deny ? DENIED : DEADLINE)) {
                done(slot, HANGING, 0);
            } else {
                open++;
                if (slot->target->udp && took > slot->asked * AGAIN) {
                    slot->asked++;
                    if (write(slot->descriptor, "x", 1) < 0) failed(slot, errno);
                }
            }
        } else if ((slot->kept == 1 || slot->waiting) && took > STALLED) {
            broke(slot, 0);
        } else if (beat && slot->kept == 2 && !slot->waiting) {
            slot->waiting = 1, slot->since = time, slot->asleep = asleep;
            if (write(slot->descriptor, ".", 1) < 0) failed(slot, errno);
        }
    }
    return open;
}

static struct target *next(int *turn, int kept) {
    for (int i = 0; i < target_count; i++) {
        struct target *target = &targets[(*turn)++ % target_count];
        if (!kept || !(target->udp || target->deny || target->brief)) return target;
    }
    return 0;
}

static void summary(const char *path, long seconds, long longest) {
    FILE *out = fopen(path, "w");
    struct rusage used;
    if (!out) perror(path), exit(3);
    for (int i = 0; i < target_count; i++) {
        struct target *target = &targets[i];
        fprintf(out, "new %s %s", place, target->name);
        for (int outcome = 0; outcome < OUTCOMES; outcome++) fprintf(out, " %ld", target->count[outcome]);
        fprintf(out, " %ld %ld %d\n", target->slow, target->longest, target->backends);
        if (target->opened) fprintf(out, "kept %s %s %ld %ld %ld %ld\n", place, target->name, target->opened, target->broken, target->stalled, target->silence);
    }
    getrusage(RUSAGE_SELF, &used);
    fprintf(out, "place %s %ld %ld %ld %ld %ld\n", place, asked, lost, seconds,
            (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000 + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1000, longest);
    fclose(out);
}

int main(int count, char **argument) {
    if (count != 8) fprintf(stderr, "load PLACE LIST OUT EVERY BURST KEEP FIRST\n"), exit(2);
    place = argument[1], first_port = atoi(argument[7]);
    int every = atoi(argument[4]), burst = atoi(argument[5]), keep = atoi(argument[6]), turn = 0, kept_turn = 0;
    char path[256];
    rate = 1000 * burst / every;
    snprintf(path, sizeof path, "%s.log", argument[3]);
    failures = fopen(path, "w");
    if (!failures) perror(path), exit(3);
    setlinebuf(failures);
    snprintf(path, sizeof path, "%s.now", argument[3]);
    FILE *progress = fopen(path, "w");
    signal(SIGTERM, end);
    signal(SIGINT, end);
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < SLOTS; i++) slots[i].descriptor = -1;
    polled = epoll_create1(0);
    read_targets(argument[2]);
    for (int i = 0; i < keep; i++) {
        struct target *target = next(&kept_turn, 1);
        if (target) start(target, 1);
    }
    long began = now(), tick = began, ran = began, told = 0, beaten = 0, longest = 0;
    while (!ending) {
        long gap = now() - ran;
        ran += gap;
        if (gap > longest) longest = gap;
        if (gap > LATE) {
            asleep += gap;
            fprintf(failures, "%.3f %s did not run for %ld ms\n", ran / 1000.0, place, gap);
        }
        wait_until(tick);
        /* Late ticks are made up for, but not all at once after a long stop. */
        if (now() - tick > 1000) tick = now();
        tick += every;
        for (int i = 0; i < burst; i++) {
            struct target *target = next(&turn, 0);
            if (target) start(target, 0);
        }
        int beat = now() - beaten >= BEAT;
        look_after(beat);
        if (beat) beaten = now();
        if (now() - told >= 1000) {
            told = now();
            rewind(progress);
            fprintf(progress, "%ld %ld %d          \n", asked, lost, keeping);
            fflush(progress);
        }
    }
    long ended = now();
    while (look_after(0)) wait_until(now() + 20);
    snprintf(path, sizeof path, "%s.sum", argument[3]);
    summary(path, (ended - began) / 1000, longest);
    return 0;
}
