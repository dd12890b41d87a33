/*
 * Thousands of PostgreSQL clients in one thread, for soak tests of the proxy.
 *
 *   soak_clients HOST PORT USER DB[,DB...] SEED
 *
 * Commands come on standard input, one a line: "target N" (connections to keep), "active N" (how
 * many of them run statements), "think MS" (pause between two), "churn N" (of 1000 statements so
 * many end by leaving in the middle), "report", "quit". "report" answers with one line of JSON.
 * Every answer is checked: it has to be the one to this client's own statement. Errors of the
 * server are counted by SQLSTATE and are none of ours.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "wire/msg.h"
#include "wire/startup.h"

enum {
	MAX_CLIENTS = 20000,
	BODY_BYTES = 120,
	STUCK_US = 90 * 1000 * 1000,
	BIG_BYTES = 100000,
	MAX_STATES = 64,
	SCRATCH_BYTES = 65536
};

enum state { AWAY = 0, CONNECTING, LOGIN, IDLE, BUSY };
enum op { SIMPLE = 0, EXTENDED, PREPARED, TRANSACTION, BIG, PIPELINE, CANCELLED, FAILING, OPS };

struct client {
	int fd;
	enum state state;
	enum op op;
	int step;         /* of a transaction */
	int rows, wanted; /* of the statement that runs */
	bool prepared, erred;
	uint32_t id, seq, pid, key;
	int64_t due_us, since_us;
	/* the message that is being read */
	uint8_t head[HERD_MSG_HEAD_BYTES];
	int head_n;
	uint32_t left, body_n;
	uint8_t body[BODY_BYTES];
	char type;
};

struct counts {
	uint64_t statements, logins, left, closed, refused, wrong, stuck, cancels;
	int nstates;
	struct {
		char state[6];
		uint64_t n;
	} states[MAX_STATES];
	char first_wrong[300];
};

struct soak {
	struct sockaddr_in to;
	const char *user;
	char *dbs[16];
	int ndbs, epfd, target, active, think_ms, churn;
	uint32_t next_id;
	uint64_t rng;
	int64_t now_us;
	struct counts n;
	struct client *clients;
	char *scratch;
};

static int64_t clock_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static uint32_t draw(struct soak *s, uint32_t below)
{
	s->rng ^= s->rng << 13;
	s->rng ^= s->rng >> 7;
	s->rng ^= s->rng << 17;
	return below ? (uint32_t)(s->rng >> 20) % below : 0;
}

__attribute__((format(printf, 3, 4))) static void wrong(struct soak *s, const struct client *c,
							const char *fmt, ...)
{
	char text[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (s->n.wrong++ == 0)
		snprintf(s->n.first_wrong, sizeof(s->n.first_wrong), "client %u op %d seq %u: %s",
			 c->id, c->op, c->seq, text);
	fprintf(stderr, "wrong: client %u op %d seq %u: %s\n", c->id, c->op, c->seq, text);
}

static void count_state(struct soak *s, const char *state)
{
	for (int i = 0; i < s->n.nstates; i++) {
		if (strcmp(s->n.states[i].state, state) == 0) {
			s->n.states[i].n++;
			return;
		}
	}
	if (s->n.nstates == MAX_STATES)
		return;
	snprintf(s->n.states[s->n.nstates].state, 6, "%s", state);
	s->n.states[s->n.nstates++].n = 1;
}

/* Leaves; reset: without a goodbye, as a machine that has lost its power and come back. */
static void leave(struct soak *s, struct client *c, bool reset)
{
	struct linger hard = { .l_onoff = 1, .l_linger = 0 };

	if (c->fd >= 0) {
		if (reset)
			setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
		close(c->fd);
	}
	c->fd = -1;
	c->state = AWAY;
	c->due_us = s->now_us + 1000 * (int64_t)(20 + draw(s, 400));
}

static void put(struct soak *s, struct client *c, struct herd_buf *b)
{
	if (send(c->fd, b->data, b->len, MSG_NOSIGNAL) != (ssize_t)b->len) {
		s->n.closed++;
		leave(s, c, true);
	}
	herd_buf_free(b);
}

static void go_away_or_connect(struct soak *s, struct client *c)
{
	struct sockaddr_in from = { .sin_family = AF_INET };
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
				  .data.ptr = c };
	int one = 1;

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0) {
		leave(s, c, false);
		return;
	}
	/* Several addresses of our own: there are fewer ports than connections in TIME_WAIT. */
	from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + draw(s, 64));
	setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	if (s->to.sin_addr.s_addr == htonl(INADDR_LOOPBACK) &&
	    bind(c->fd, (struct sockaddr *)&from, sizeof(from)) < 0) {
		leave(s, c, false);
		return;
	}
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	c->state = CONNECTING;
	c->since_us = s->now_us;
	c->head_n = 0;
	c->left = 0;
	c->prepared = c->erred = false;
	c->id = ++s->next_id;
	c->seq = 0;
	if ((connect(c->fd, (struct sockaddr *)&s->to, sizeof(s->to)) < 0 &&
	     errno != EINPROGRESS) ||
	    epoll_ctl(s->epfd, EPOLL_CTL_ADD, c->fd, &ev) < 0) {
		s->n.refused++;
		leave(s, c, false);
	}
}

static void log_in(struct soak *s, struct client *c)
{
	const char *pairs[] = {
		"user", s->user, "database", s->dbs[draw(s, (uint32_t)s->ndbs)], "application_name",
		"soak", NULL
	};
	struct herd_buf b = { 0 };
	int error = 0;
	socklen_t n = sizeof(error);

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0 || error) {
		s->n.refused++;
		leave(s, c, false);
		return;
	}
	c->state = LOGIN;
	herd_wr_startup(&b, pairs);
	put(s, c, &b);
}

static void parse_bind(struct herd_buf *b, const char *name, const char *sql, const char *value,
		       bool parse)
{
	size_t at;

	if (parse && *name) {
		at = herd_wr_begin(b, 'C');
		herd_buf_addc(b, 'S');
		herd_wr_str(b, name);
		herd_wr_end(b, at);
	}
	if (parse) {
		at = herd_wr_begin(b, 'P');
		herd_wr_str(b, name);
		herd_wr_str(b, sql);
		herd_wr_u16(b, 0);
		herd_wr_end(b, at);
	}
	at = herd_wr_begin(b, 'B');
	herd_wr_str(b, "");
	herd_wr_str(b, name);
	herd_wr_u16(b, 0);
	herd_wr_u16(b, 1);
	herd_wr_u32(b, (uint32_t)strlen(value));
	herd_buf_add(b, value, strlen(value));
	herd_wr_u16(b, 0);
	herd_wr_end(b, at);
	at = herd_wr_begin(b, 'E');
	herd_wr_str(b, "");
	herd_wr_u32(b, 0);
	herd_wr_end(b, at);
}

static void send_op(struct soak *s, struct client *c)
{
	static const char *const begin_commit[] = { "begin", NULL, "commit" };
	struct herd_buf b = { 0 };
	char value[64], sql[160];

	snprintf(value, sizeof(value), "%u.%u.", c->id, c->seq);
	snprintf(sql, sizeof(sql), "select '%s'", value);
	c->rows = 0;
	c->wanted = 1;
	c->erred = false;
	switch (c->op) {
	case EXTENDED:
		parse_bind(&b, "", "select $1::text", value, true);
		break;
	case PREPARED:
		parse_bind(&b, "mine", "select $1::text || 'p'", value, !c->prepared);
		break;
	case TRANSACTION:
		c->wanted = c->step == 1;
		herd_wr_query(&b, begin_commit[c->step] ? begin_commit[c->step] : sql);
		break;
	case BIG:
		snprintf(sql, sizeof(sql),
			 "select '%s' || repeat('x', %d) from generate_series(1, 3)", value,
			 BIG_BYTES);
		c->wanted = 3;
		herd_wr_query(&b, sql);
		break;
	case PIPELINE:
		c->wanted = 5;
		for (int i = 0; i < 5; i++)
			parse_bind(&b, "", "select $1::text", value, true);
		break;
	case CANCELLED:
		snprintf(sql, sizeof(sql), "select '%s' from pg_sleep(0.05)", value);
		herd_wr_query(&b, sql);
		break;
	case FAILING:
		c->wanted = 0;
		herd_wr_query(&b, "select 1/0");
		break;
	default:
		herd_wr_query(&b, sql);
	}
	if (c->op == EXTENDED || c->op == PREPARED || c->op == PIPELINE)
		herd_wr_empty(&b, 'S');
	c->state = BUSY;
	c->since_us = s->now_us;
	if ((int)draw(s, 1000) < s->churn) {
		/* Half of it, and off; or all of it, and off before the answer. */
		if (draw(s, 2))
			b.len = 1 + draw(s, (uint32_t)b.len - 1);
		s->n.left++;
		put(s, c, &b);
		if (c->state == BUSY)
			leave(s, c, draw(s, 2));
		return;
	}
	put(s, c, &b);
}

/* A connection of its own, as the protocol has it; we do not wait for its end. */
static void send_cancel(struct soak *s, const struct client *c)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	uint8_t key[4] = { (uint8_t)(c->key >> 24), (uint8_t)(c->key >> 16), (uint8_t)(c->key >> 8),
			   (uint8_t)c->key };
	struct timeval limit = { .tv_sec = 1 };
	struct herd_buf b = { 0 };

	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	herd_wr_cancel(&b, c->pid, key, sizeof(key));
	if (connect(fd, (const struct sockaddr *)&s->to, sizeof(s->to)) == 0 &&
	    send(fd, b.data, b.len, MSG_NOSIGNAL) > 0)
		s->n.cancels++;
	herd_buf_free(&b);
	close(fd);
}

static void next_op(struct soak *s, struct client *c)
{
	c->seq++;
	c->op = (enum op)draw(s, OPS);
	if (c->op == BIG && draw(s, 4))
		c->op = SIMPLE;
	c->step = 0;
	send_op(s, c);
	if (c->state == BUSY && c->op == CANCELLED && draw(s, 4) == 0)
		send_cancel(s, c);
}

static void ready(struct soak *s, struct client *c, char tx)
{
	bool in_tx = c->op == TRANSACTION && c->step < 2 && c->state == BUSY;

	if (c->state == LOGIN) {
		s->n.logins++;
	} else if (c->state != BUSY) {
		wrong(s, c, "ReadyForQuery that nobody asked for");
	} else {
		s->n.statements++;
		if (!c->erred && c->rows != c->wanted)
			wrong(s, c, "%d rows instead of %d", c->rows, c->wanted);
		if (c->erred && c->op == TRANSACTION) {
			leave(s, c, false);
			return;
		}
		if (tx != (in_tx ? 'T' : 'I'))
			wrong(s, c, "transaction state %c", tx);
		if (c->op == PREPARED)
			c->prepared = !c->erred;
		if (in_tx) {
			c->step++;
			send_op(s, c);
			return;
		}
	}
	c->state = IDLE;
	c->due_us = s->now_us + 1000 * (int64_t)draw(s, 2 * (uint32_t)s->think_ms + 1);
}

static void take_row(struct soak *s, struct client *c)
{
	char value[64];
	int n = snprintf(value, sizeof(value), "%u.%u.", c->id, c->seq);

	c->rows++;
	if (c->state != BUSY || c->body_n < 6 + (uint32_t)n ||
	    memcmp(c->body + 6, value, (size_t)n) != 0)
		wrong(s, c, "a row of somebody else: %.*s", (int)c->body_n - 6, c->body + 6);
}

/* Longer texts than we keep are cut, and the fields after them; the SQLSTATE stands before. */
static void count_error(struct soak *s, struct client *c)
{
	struct herd_rd rd = herd_rd_init(c->body, c->body_n);

	for (;;) {
		char field = (char)herd_rd_u8(&rd);
		const char *text = herd_rd_str(&rd);

		if (!herd_rd_ok(&rd) || !field)
			return;
		if (field == 'C')
			count_state(s, text);
	}
}

static bool message(struct soak *s, struct client *c)
{
	struct herd_rd rd = herd_rd_init(c->body, c->body_n);

	switch (c->type) {
	case 'E':
		count_error(s, c);
		c->erred = true;
		break;
	case 'D':
		take_row(s, c);
		break;
	case 'K':
		c->pid = herd_rd_u32(&rd);
		c->key = herd_rd_u32(&rd);
		break;
	case 'Z':
		ready(s, c, (char)herd_rd_u8(&rd));
		break;
	case 'R':
	case 'S':
	case 'N':
	case 'T':
	case 'C':
	case '1':
	case '2':
	case '3':
	case 'I':
		break;
	default:
		wrong(s, c, "message of type %d", c->type);
		leave(s, c, true);
	}
	return c->state != AWAY;
}

static void take(struct soak *s, struct client *c, const uint8_t *p, size_t n)
{
	while (n > 0) {
		struct herd_msg_head h;
		size_t part;

		if (c->head_n < HERD_MSG_HEAD_BYTES) {
			c->head[c->head_n++] = *p++;
			n--;
			if (c->head_n < HERD_MSG_HEAD_BYTES)
				continue;
			if (herd_msg_head_parse(c->head, sizeof(c->head), &h) < 0) {
				wrong(s, c, "bad head of a message");
				leave(s, c, true);
				return;
			}
			c->type = h.type;
			c->left = h.len;
			c->body_n = 0;
		}
		part = n < c->left ? n : c->left;
		size_t room = BODY_BYTES - c->body_n, keep = part < room ? part : room;

		memcpy(c->body + c->body_n, p, keep);
		c->body_n += (uint32_t)keep;
		c->left -= (uint32_t)part;
		p += part;
		n -= part;
		if (c->left > 0)
			continue;
		c->head_n = 0;
		if (!message(s, c))
			return;
	}
}

static void readable(struct soak *s, struct client *c)
{
	for (;;) {
		ssize_t n = recv(c->fd, s->scratch, SCRATCH_BYTES, 0);

		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			s->n.closed++;
			leave(s, c, false);
			return;
		}
		take(s, c, (const uint8_t *)s->scratch, (size_t)n);
		if (c->state == AWAY)
			return;
	}
}

static void event(struct soak *s, struct client *c, uint32_t events)
{
	if (c->state == AWAY)
		return;
	if (c->state == CONNECTING && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
		log_in(s, c);
	if (c->state != AWAY && c->state != CONNECTING &&
	    (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		readable(s, c);
}

static void walk(struct soak *s)
{
	for (int i = 0; i < MAX_CLIENTS; i++) {
		struct client *c = &s->clients[i];

		if (i >= s->target) {
			if (c->state == IDLE || c->state == CONNECTING || c->state == LOGIN)
				leave(s, c, false);
			continue;
		}
		if (c->state == AWAY && s->now_us >= c->due_us)
			go_away_or_connect(s, c);
		else if (c->state == IDLE && i < s->active && s->now_us >= c->due_us)
			next_op(s, c);
		else if ((c->state == BUSY || c->state == LOGIN) &&
			 s->now_us - c->since_us > STUCK_US) {
			s->n.stuck++;
			fprintf(stderr, "stuck: client %u op %d step %d state %d\n", c->id, c->op,
				c->step, c->state);
			leave(s, c, true);
		}
	}
}

static void report(const struct soak *s)
{
	int in[BUSY + 1] = { 0 };

	for (int i = 0; i < MAX_CLIENTS; i++)
		in[s->clients[i].state]++;
	printf("{\"idle\": %d, \"busy\": %d, \"login\": %d, \"statements\": %llu, \"logins\": "
	       "%llu, "
	       "\"left\": %llu, \"closed\": %llu, \"refused\": %llu, \"cancels\": %llu, \"wrong\": "
	       "%llu, "
	       "\"stuck\": %llu, \"errors\": {",
	       in[IDLE], in[BUSY], in[LOGIN] + in[CONNECTING], (unsigned long long)s->n.statements,
	       (unsigned long long)s->n.logins, (unsigned long long)s->n.left,
	       (unsigned long long)s->n.closed, (unsigned long long)s->n.refused,
	       (unsigned long long)s->n.cancels, (unsigned long long)s->n.wrong,
	       (unsigned long long)s->n.stuck);
	for (int i = 0; i < s->n.nstates; i++)
		printf("%s\"%s\": %llu", i ? ", " : "", s->n.states[i].state,
		       (unsigned long long)s->n.states[i].n);
	printf("}}\n");
	fflush(stdout);
}

/* False at the end. */
static bool command(struct soak *s)
{
	char line[200];
	ssize_t n = read(STDIN_FILENO, line, sizeof(line) - 1);

	if (n <= 0)
		return n < 0 && errno == EAGAIN;
	line[n] = '\0';
	for (char *rest, *p = strtok_r(line, "\n", &rest); p; p = strtok_r(NULL, "\n", &rest)) {
		int *where = strncmp(p, "target ", 7) == 0   ? &s->target
			     : strncmp(p, "active ", 7) == 0 ? &s->active
			     : strncmp(p, "think ", 6) == 0  ? &s->think_ms
			     : strncmp(p, "churn ", 6) == 0  ? &s->churn
							     : NULL;

		if (where)
			*where = atoi(strchr(p, ' '));
		else if (strcmp(p, "report") == 0)
			report(s);
		else if (strcmp(p, "quit") == 0)
			return false;
	}
	if (s->target > MAX_CLIENTS)
		s->target = MAX_CLIENTS;
	return true;
}

static void run(struct soak *s)
{
	struct epoll_event events[256];
	int64_t next_walk = 0;

	for (;;) {
		int n = epoll_wait(s->epfd, events, 256, 5);

		s->now_us = clock_us();
		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr)
				event(s, events[i].data.ptr, events[i].events);
			else if (!command(s))
				return;
		}
		if (s->now_us < next_walk)
			continue;
		walk(s);
		next_walk = s->now_us + 10000;
	}
}

int main(int argc, char **argv)
{
	static struct soak s;
	struct epoll_event in = { .events = EPOLLIN };
	struct rlimit files;

	if (argc != 6) {
		fputs("usage: soak_clients HOST PORT USER DB[,DB...] SEED\n", stderr);
		return 2;
	}
	s.to.sin_family = AF_INET;
	s.to.sin_port = htons((uint16_t)atoi(argv[2]));
	s.user = argv[3];
	for (char *rest, *p = strtok_r(argv[4], ",", &rest); p && s.ndbs < 16;
	     p = strtok_r(NULL, ",", &rest))
		s.dbs[s.ndbs++] = p;
	s.rng = 88172645463325252ull + strtoull(argv[5], NULL, 10) * 2654435761u;
	s.think_ms = 100;
	s.clients = calloc(MAX_CLIENTS, sizeof(*s.clients));
	s.scratch = malloc(SCRATCH_BYTES);
	s.epfd = epoll_create1(EPOLL_CLOEXEC);
	if (inet_pton(AF_INET, argv[1], &s.to.sin_addr) != 1 || !s.clients || !s.scratch ||
	    s.epfd < 0 || epoll_ctl(s.epfd, EPOLL_CTL_ADD, STDIN_FILENO, &in) < 0)
		return 2;
	for (int i = 0; i < MAX_CLIENTS; i++)
		s.clients[i].fd = -1;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) | O_NONBLOCK);
	run(&s);
	return s.n.wrong || s.n.stuck ? 1 : 0;
}
