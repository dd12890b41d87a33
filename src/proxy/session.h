/*
 * proxy/session.h - session state over a change of servers: settings are made again, LISTEN is
 * served by a listener of the proxy's (hub.h), and what one server alone has keeps the client with
 * it (setting session_state). In pools of mode transaction and statement only.
 *
 * What there is to do and to undo is decided in pool/session.h; here are the hooks of the relay. A
 * client that does nothing to its session costs one look at each of its texts and no memory.
 */
#pragma once
#include "pool/session.h"
#include "proxy/client.h"

struct herd_hub_member;

/* What a client's session is, allocated at the first need. */
struct herd_kept {
	struct herd_session s;
	struct herd_map *texts;      /* statement's name -> struct herd_sql_acts; NULL: none */
	struct herd_map *portals;    /* portal's name -> the same */
	struct herd_hub_member *hub; /* hub.c: what it listens to; NULL: nothing */
	bool hub_asked;              /* since the last herd_hub_sync */
	bool counted;                /* in its pool's npinned */
	unsigned told_pins;          /* the server's answer so far */
	bool told;                   /* the log knows that it is pinned */
	bool opaque;                 /* a text too long to be looked at is under way */
};

/* Longer texts are judged by the tags of their answers. */
enum { HERD_SESSION_LOOK_BYTES = 256 * 1024 };

bool herd_session_tracks_now(struct herd_client *c);
/* Is session_state on for this client? */
static inline bool herd_session_tracks(struct herd_client *c)
{
	if (c->tracked_as_of == c->w->live->serial)
		return c->tracked;
	return herd_session_tracks_now(c);
}
/* Must it keep its server between transactions? */
static inline bool herd_session_pinned(const struct herd_client *c)
{
	return c->kept && c->kept->s.pins != 0;
}

/* One message of the client: P, B, C, E or Q. */
struct herd_session_msg {
	char type;
	const char *body;
	size_t len;   /* of the body */
	bool partial; /* only these bytes of it are here, and more will not be waited for */
	struct herd_sql_acts *acts; /* that will take place when it is sent */
	struct herd_buf instead;    /* a whole message to be sent in its place; empty: none */
};
enum herd_session_look { HERD_LOOK_GO = 0, HERD_LOOK_WAIT, HERD_LOOK_CLOSED };
/*
 * Looks at it before it is sent. WAIT: it must not be sent yet; the client is woken when it may be.
 * CLOSED: the client is gone.
 */
enum herd_session_look herd_session_look(struct herd_client *c, struct herd_session_msg *m);
/* It was sent, and noted in the flight as the last request (unless that ignores it). */
void herd_session_sent_msg(struct herd_client *c, struct herd_session_msg *m, bool ignored);
void herd_session_msg_free(struct herd_session_msg *m);

/*
 * A server was linked: sends what makes its settings, and what it has prepared, the client's. The
 * client's messages must wait while s->sets_sent.
 */
void herd_session_assign(struct herd_client *c);
/* The answer to that: 0, or -EIO and the client must go. */
int herd_session_assigned(struct herd_client *c);
/*
 * CommandComplete for the client; head is the request it answers, or NULL. True: the client must
 * get the tag LISTEN instead of this one.
 */
bool herd_session_complete(struct herd_client *c, const struct herd_flight_item *head,
			   const char *tag, size_t n);
/* ReadyForQuery for the client. */
void herd_session_round(struct herd_client *c, char tx);
/*
 * Behind that, when it is pinned: is what pins it still there? True: the server was asked, and
 * herd_session_probed says at its ReadyForQuery whether it is to be released.
 */
enum {
	HERD_MARK_PINS = 100, /* of the request; others are in split.h */
	HERD_MARK_PREPARES    /* PREPARE and DEALLOCATE of ours, whose errors are nobody's */
};
bool herd_session_probe(struct herd_client *c);
void herd_session_probe_row(struct herd_client *c, const void *body, size_t n);
bool herd_session_probed(struct herd_client *c);
/* The client leaves while that is open: the server is kept, to be reset. */
bool herd_session_keep_server(struct herd_client *c);
/* Its server is gone. False: with something that no other server has. */
bool herd_session_server_lost(struct herd_client *c);
/* The client's statements are gone (DEALLOCATE ALL, DISCARD ALL). */
void herd_session_forget_stmts(struct herd_client *c);
/* connect_query has run: what it sets is what undoing leads back to. */
void herd_session_server_base(struct herd_server *s, const char *connect_query);
/* The server's session is as new (DISCARD ALL). */
void herd_session_server_clean(struct herd_server *s);
/* The server is about to be closed. */
void herd_session_server_free(struct herd_server *s);
/* The client leaves; its server, if any, is still linked. */
void herd_session_close(struct herd_client *c);
/* What reset the server needs; NULL: none. */
const char *herd_session_reset_query(const struct herd_worker *w, const struct herd_server *s);
