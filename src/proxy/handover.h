/*
 * proxy/handover.h - online restart: one process hands its sockets to the next.
 *
 * The new process (-R) logs in to the console of the running one over the unix socket and says
 * TAKEOVER. From then on both exchange records: a length, a type, named fields, and descriptors
 * beside them (SCM_RIGHTS). The elder sends its listening sockets; when the new process says it is
 * ready, it stops accepting, and every client moves as soon as it is between two statements,
 * servers when they are not needed any more. TLS connections cannot move: the elder serves them to
 * their end. A cancel request for a client that has not moved is passed back.
 *
 * If the new process goes away, the elder goes on as if nothing had been.
 */
#pragma once
#include "proxy/client.h"
#include "proxy/doors.h"

enum herd_record_type {
	HERD_RECORD_HELLO = 1,  /* elder: who it is, its listening sockets */
	HERD_RECORD_READY = 2,  /* new: begin */
	HERD_RECORD_POOL = 3,   /* elder: a pool, how many servers it has, its secrets */
	HERD_RECORD_GONE = 4,   /* elder: one server less */
	HERD_RECORD_FRESH = 5,  /* elder: a connection that has said nothing yet */
	HERD_RECORD_CLIENT = 6, /* elder: a client, maybe linked to a server */
	HERD_RECORD_SERVER = 7,
	HERD_RECORD_END = 8,
	HERD_RECORD_BEGIN = 10, /* elder: all pools are told, it accepts nobody any more */
	HERD_RECORD_CANCEL = 9  /* new: a request for a client that is still with the elder */
};
enum { HERD_RECORD_FDS = HERD_MAX_LISTENERS };

/* A record in the making, or received. A zeroed struct with a type is an empty one. */
struct herd_record {
	struct herd_list node;
	uint8_t type;
	struct herd_buf fields;
	int nfds;
	int fds[HERD_RECORD_FDS];
};
struct herd_record *herd_record_new(uint8_t type); /* NULL when out of memory */
/* Closes its descriptors, too. */
void herd_record_free(struct herd_record *r);
void herd_record_add(struct herd_record *r, const char *name, const void *data, size_t n);
void herd_record_text(struct herd_record *r, const char *name, const char *text); /* NULL: none */
void herd_record_number(struct herd_record *r, const char *name, int64_t v);
/* Takes fd over. */
void herd_record_fd(struct herd_record *r, int fd);
/* Walks over the fields; *pos starts at 0. Texts have a zero behind them. False at the end. */
struct herd_field {
	const char *name, *data;
	size_t n;
};
bool herd_record_next(const struct herd_record *r, size_t *pos, struct herd_field *ret);
bool herd_record_find(const struct herd_record *r, const char *name, struct herd_field *ret);
int64_t herd_field_number(const struct herd_field *f); /* 0 when it is none */
/* The number of that name, or fallback. */
int64_t herd_record_get(const struct herd_record *r, const char *name, int64_t fallback);
/* The text of that name, or NULL. */
const char *herd_record_str(const struct herd_record *r, const char *name);

/* Blocking, whole records. 0, or a negative errno (-EPIPE: the other side has gone). */
int herd_record_send(int sock, const struct herd_record *r);
int herd_record_recv(int sock, struct herd_record **ret);

/* parcel.c: what a record says of a client or a server. The object is gone afterwards. */
struct herd_record *herd_parcel_client(struct herd_worker *w, struct herd_client *c);
struct herd_record *herd_parcel_server(struct herd_worker *w, struct herd_server *s);
/* Makes objects of them on one of the workers. Takes the record. Any thread. */
void herd_parcel_open(struct herd_px *px, struct herd_record *r);

/* leave.c: the elder's side. TAKEOVER came from this console client. */
int herd_leave_begin(struct herd_client *c, struct herd_err *err);
/* Is this process handing over? One load. */
static inline bool herd_leaving(const struct herd_px *px)
{
	return atomic_load_explicit(&px->leaving, memory_order_relaxed);
}
/* Hands the client over when it is at rest: then it is gone and true returned. */
bool herd_leave_client(struct herd_worker *w, struct herd_client *c);
/* The same for a server of this worker that is free. */
bool herd_leave_server(struct herd_worker *w, struct herd_server *s);
/* A server connection ended: the new process may open one in its place. */
void herd_leave_lost(struct herd_server *s);
void herd_leave_janitor(struct herd_worker *w);
/* Main thread, now and then: true when all have left. */
bool herd_leave_over(struct herd_px *px);
/* The workers have ended: says goodbye. */
void herd_leave_end(struct herd_px *px);

/* takeover.c: the new process's side. -ENOENT: nobody is there to take over from. */
int herd_takeover_begin(struct herd_px *px, const struct herd_pconf *config,
			struct herd_doors_given *doors, struct herd_err *err);
/* The workers run: the elder may begin. */
void herd_takeover_ready(struct herd_px *px);
/* Passes a cancel request to the elder; false when there is none. */
bool herd_takeover_cancel(struct herd_px *px, const void *key, size_t n);
/* Ends the conversation, while the workers still run; then frees what it needed. */
void herd_takeover_stop(struct herd_px *px);
void herd_takeover_free(struct herd_px *px);
/*
 * restart.c: RESTART. Calls the program that we were called as once more, with -R: it takes over,
 * or says why not and ends. Any thread.
 */
int herd_restart_spawn(struct herd_px *px, struct herd_err *err);
/* Main thread, now and then: buries a process that did not take over. */
void herd_restart_look(struct herd_px *px);
/* Has the elder something left? */
bool herd_takeover_pending(const struct herd_px *px);
/* The process that we take over from, 0: none. */
int herd_takeover_pid(const struct herd_px *px);
