/* A line of some length: a TCP proxy on loopback that hands every byte on after a delay.
 *
 *     distance PORT DELAY_US BYTES_PER_S
 *
 * It connects to 127.0.0.1:PORT, listens on a port of the kernel's choice, prints "listening on N", and ends with
 * SIGTERM. DELAY_US is the time of one way. The first bytes of a connection wait for one round more, as long as a real
 * handshake of TCP takes; on loopback connect(2) itself returns at once. With BYTES_PER_S other than 0 all connections
 * together carry no more than that in either direction, as a line does. It knows nothing of TLS or HTTP.
 *
 * One thread and epoll(7): every byte is copied twice, and a small request with its answer costs about 0.03 ms.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 64 * 1024, EVENTS = 256 };
/* So much of one direction may be on its way: about what Linux gives a connection at most (tcp_rmem, tcp(7)). */
static const size_t WINDOW = 6 * 1024 * 1024;

struct piece {
    struct piece *next;
    int64_t due_ns;
    size_t size, sent;
    char bytes[];
};

/* One direction: what was read from `from` and is on its way to `to`. */
struct way {
    struct piece *first, *last;
    size_t held;
    int64_t earliest_ns;
    int from, to;
    int is_ended, is_closed, is_blocked, is_paused;
    struct way *other;
    struct way *next_waiting;
    int is_waiting, is_doomed, is_client;
};

static int poller, timer;
static int64_t delay_ns, client_free_ns, server_free_ns;
static double bytes_per_ns;
static struct way **by_fd;
static int most_fds;
static struct way **heap; /* ways by when their first piece is due */
static size_t heap_size, heap_room;

static int64_t now_ns(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * INT64_C(1000000000) + at.tv_nsec;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void watch(int fd, uint32_t events, int operation)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(poller, operation, fd, &event) < 0)
        die("epoll_ctl");
}

/* What a descriptor is polled for: to read unless its own way is full, to write while the way to it is stuck. */
static void rewatch(struct way *reads)
{
    uint32_t events = 0;
    if (!reads->is_ended && !reads->is_paused)
        events |= EPOLLIN;
    if (reads->other->is_blocked)
        events |= EPOLLOUT;
    watch(reads->from, events, EPOLL_CTL_MOD);
}

static void heap_put(struct way *way)
{
    if (way->is_waiting)
        return;
    way->is_waiting = 1;
    if (heap_size == heap_room) {
        heap_room = heap_room ? 2 * heap_room : 1024;
        if (!(heap = realloc(heap, heap_room * sizeof *heap)))
            die("realloc");
    }
    size_t at = heap_size++;
    while (at && heap[(at - 1) / 2]->first->due_ns > way->first->due_ns) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = way;
}

static struct way *heap_take(void)
{
    struct way *top = heap[0], *last = heap[--heap_size];
    size_t at = 0, child;
    while ((child = 2 * at + 1) < heap_size) {
        if (child + 1 < heap_size && heap[child + 1]->first->due_ns < heap[child]->first->due_ns)
            child++;
        if (heap[child]->first->due_ns >= last->first->due_ns)
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    top->is_waiting = 0;
    return top;
}

static void drop_pieces(struct way *way)
{
    while (way->first) {
        struct piece *piece = way->first;
        way->first = piece->next;
        free(piece);
    }
}

static struct way *doomed;

/* Close both ends; the memory goes when nothing refers to it any more. */
static void close_both(struct way *way)
{
    struct way *pair[2] = {way, way->other};
    if (way->is_doomed)
        return;
    for (int at = 0; at < 2; at++) {
        by_fd[pair[at]->from] = NULL;
        close(pair[at]->from);
        pair[at]->is_doomed = 1;
    }
    way->next_waiting = doomed;
    doomed = way;
}

/* A way still in the heap keeps its first piece, by which the heap is ordered. */
static void bury(void)
{
    struct way **link = &doomed;
    while (*link) {
        struct way *way = *link;
        if (way->is_waiting || way->other->is_waiting) {
            link = &way->next_waiting;
            continue;
        }
        *link = way->next_waiting;
        drop_pieces(way);
        drop_pieces(way->other);
        free(way->other);
        free(way);
    }
}

static void send_due(struct way *way, int64_t at_ns)
{
    while (way->first && way->first->due_ns <= at_ns) {
        struct piece *piece = way->first;
        if (piece->size) {
            ssize_t sent = send(way->to, piece->bytes + piece->sent, piece->size - piece->sent, MSG_NOSIGNAL);
            if (sent < 0) {
                if (errno == EAGAIN || errno == EWOULDBLOCK) {
                    if (!way->is_blocked) {
                        way->is_blocked = 1;
                        rewatch(way->other);
                    }
                    return;
                }
                close_both(way);
                return;
            }
            piece->sent += (size_t)sent;
            way->held -= (size_t)sent;
            if (piece->sent < piece->size)
                continue;
        } else {
            shutdown(way->to, SHUT_WR);
            way->is_closed = 1;
        }
        way->first = piece->next;
        free(piece);
    }
    if (!way->first)
        way->last = NULL;
    else
        heap_put(way);
    int was_blocked = way->is_blocked;
    way->is_blocked = 0;
    if (was_blocked)
        rewatch(way->other);
    if (way->is_paused && way->held < WINDOW / 2) {
        way->is_paused = 0;
        rewatch(way);
    }
    if (way->is_closed && way->other->is_closed)
        close_both(way);
}

static void hold(struct way *way, const char *bytes, size_t size, int64_t *free_ns)
{
    struct piece *piece = malloc(sizeof *piece + size);
    if (!piece)
        die("malloc");
    memcpy(piece->bytes, bytes, size);
    int64_t sent_ns = now_ns();
    if (bytes_per_ns > 0) {
        if (*free_ns > sent_ns)
            sent_ns = *free_ns;
        sent_ns += (int64_t)((double)size / bytes_per_ns);
        *free_ns = sent_ns;
    }
    int64_t due_ns = sent_ns + delay_ns;
    if (due_ns < way->earliest_ns)
        due_ns = way->earliest_ns;
    way->earliest_ns = due_ns;
    *piece = (struct piece){.due_ns = due_ns, .size = size};
    way->held += size;
    if (way->last)
        way->last->next = piece;
    else
        way->first = piece;
    way->last = piece;
    if (!way->is_blocked && way->first == piece)
        heap_put(way);
}

static void read_some(struct way *way)
{
    static char block[BLOCK];
    ssize_t size = recv(way->from, block, sizeof block, 0);
    if (size < 0) {
        if (errno != EAGAIN && errno != EWOULDBLOCK)
            close_both(way);
        return;
    }
    hold(way, block, (size_t)size, way->is_client ? &client_free_ns : &server_free_ns);
    if (!size)
        way->is_ended = 1;
    if (way->held > WINDOW)
        way->is_paused = 1;
    if (way->is_ended || way->is_paused)
        rewatch(way);
}

static void meet(int listener, const struct sockaddr_in *server)
{
    int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client < 0)
        return;
    int upstream = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (upstream < 0 || upstream >= most_fds || client >= most_fds ||
        connect(upstream, (const struct sockaddr *)server, sizeof *server) < 0) {
        close(client);
        if (upstream >= 0)
            close(upstream);
        return;
    }
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(upstream, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (fcntl(upstream, F_SETFL, O_NONBLOCK) < 0)
        die("fcntl");
    struct way *there = calloc(1, sizeof *there), *back = calloc(1, sizeof *back);
    if (!there || !back)
        die("calloc");
    *there = (struct way){.from = client, .to = upstream, .other = back, .is_client = 1,
                           .earliest_ns = now_ns() + 3 * delay_ns};
    *back = (struct way){.from = upstream, .to = client, .other = there};
    by_fd[client] = there;
    by_fd[upstream] = back;
    watch(client, EPOLLIN, EPOLL_CTL_ADD);
    watch(upstream, EPOLLIN, EPOLL_CTL_ADD);
}

int main(int count, char **words)
{
    if (count != 4) {
        fprintf(stderr, "usage: %s PORT DELAY_US BYTES_PER_S\n", words[0]);
        return 2;
    }
    delay_ns = atoll(words[2]) * 1000;
    bytes_per_ns = atof(words[3]) / 1e9;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max < 65536 ? limit.rlim_max : 65536;
    setrlimit(RLIMIT_NOFILE, &limit);
    most_fds = (int)limit.rlim_cur;
    by_fd = calloc((size_t)most_fds, sizeof *by_fd);
    poller = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in server = here;
    socklen_t size = sizeof here;
    server.sin_port = htons((uint16_t)atoi(words[1]));
    if (!by_fd || poller < 0 || timer < 0 || listener < 0 || bind(listener, (struct sockaddr *)&here, size) < 0 ||
        listen(listener, 4096) < 0 || getsockname(listener, (struct sockaddr *)&here, &size) < 0)
        die("listen");
    watch(listener, EPOLLIN, EPOLL_CTL_ADD);
    watch(timer, EPOLLIN, EPOLL_CTL_ADD);
    printf("listening on http://127.0.0.1:%d/\n", ntohs(here.sin_port));
    fflush(stdout);
    for (;;) {
        struct epoll_event events[EVENTS];
        struct itimerspec until = {0};
        if (heap_size) {
            int64_t due_ns = heap[0]->first->due_ns;
            until.it_value.tv_sec = due_ns / 1000000000;
            until.it_value.tv_nsec = due_ns % 1000000000;
        }
        timerfd_settime(timer, TFD_TIMER_ABSTIME, &until, NULL);
        int found = epoll_wait(poller, events, EVENTS, -1);
        if (found < 0 && errno != EINTR)
            die("epoll_wait");
        for (int at = 0; at < found; at++) {
            int fd = events[at].data.fd;
            if (fd == listener) {
                meet(listener, &server);
                continue;
            }
            if (fd == timer) {
                uint64_t times;
                if (read(timer, &times, sizeof times) < 0 && errno != EAGAIN)
                    die("read");
                continue;
            }
            struct way *way = by_fd[fd];
            if (way && way->other->is_blocked && events[at].events & EPOLLOUT)
                send_due(way->other, now_ns());
            if (!way || by_fd[fd] != way)
                continue;
            if (!way->is_ended && events[at].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                read_some(way);
            else if (events[at].events & (EPOLLHUP | EPOLLERR))
                close_both(way); /* nothing more goes either way */
        }
        int64_t at_ns = now_ns();
        while (heap_size && heap[0]->first->due_ns <= at_ns) {
            struct way *way = heap_take();
            if (!way->is_doomed && !way->is_blocked)
                send_due(way, at_ns);
        }
        bury();
    }
}
