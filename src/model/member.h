/*
 * model/member.h - the document a member publishes about itself, members/<name>.
 *
 * Byte-compatible with Patroni 4.1. Structs own their texts; clear functions take zeroed structs.
 */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* In Patroni's order: its number is what /metrics shows. UNKNOWN is any other text. */
enum herd_member_state {
	HERD_STATE_INITDB = 0,
	HERD_STATE_INITDB_FAILED,
	HERD_STATE_CUSTOM_BOOTSTRAP,
	HERD_STATE_CUSTOM_BOOTSTRAP_FAILED,
	HERD_STATE_CREATING_REPLICA,
	HERD_STATE_RUNNING,
	HERD_STATE_STARTING,
	HERD_STATE_BOOTSTRAP_STARTING,
	HERD_STATE_START_FAILED,
	HERD_STATE_RESTARTING,
	HERD_STATE_RESTART_FAILED,
	HERD_STATE_STOPPING,
	HERD_STATE_STOPPED,
	HERD_STATE_STOP_FAILED,
	HERD_STATE_CRASHED,
	HERD_STATE_UNKNOWN
};

enum herd_role {
	HERD_ROLE_UNINITIALIZED = 0,
	HERD_ROLE_REPLICA,
	HERD_ROLE_PRIMARY, /* "master" is read as this */
	HERD_ROLE_STANDBY_LEADER,
	HERD_ROLE_PROMOTED, /* promoting */
	HERD_ROLE_DEMOTED,
	HERD_ROLE_UNKNOWN
};

const char *herd_member_state_text(enum herd_member_state s);
enum herd_member_state herd_member_state_parse(const char *text);
const char *herd_role_text(enum herd_role r);
enum herd_role herd_role_parse(const char *text);

/* Tags with a meaning; raw holds all of them as given. */
struct herd_tags {
	bool nofailover;
	bool failover_allowed; /* nofailover is given, and not true */
	bool noloadbalance;
	bool clonefrom;
	bool nosync;
	bool sync_allowed; /* nosync is given, and not true */
	bool nostream;
	/* As written; the effective value is herd_tags_failover_priority. */
	int failover_priority;
	bool has_failover_priority;
	int sync_priority;
	bool has_sync_priority;
	char *replicatefrom; /* member name or NULL */
	json_t *raw;         /* object or NULL */
};

/* obj may be NULL or of any type; what cannot be read is as if absent. 0 or -ENOMEM. */
int herd_tags_from_json(const json_t *obj, struct herd_tags *ret);
int herd_tags_copy(const struct herd_tags *from, struct herd_tags *ret);
void herd_tags_clear(struct herd_tags *t);
/* <= 0: must never lead. nofailover wins where it is given; default 1. */
int herd_tags_failover_priority(const struct herd_tags *t);
/* <= 0: must never be synchronous. nosync wins where it is given; default 1. */
int herd_tags_sync_priority(const struct herd_tags *t);

struct herd_member {
	char *name;
	char *conn_url;  /* postgres://host:port/postgres */
	char *api_url;   /* http://host:port/patroni, or NULL */
	char *proxy_url; /* or NULL */
	char *host;      /* of conn_url, without brackets; NULL when it cannot be read */
	int port;        /* of conn_url, 5432 when it names none */
	enum herd_member_state state;
	char *state_text; /* as given */
	enum herd_role role;
	char *version; /* of the agent: "4.1.0", or NULL */
	struct herd_tags tags;
	uint64_t xlog_location, receive_lsn, replay_lsn; /* 0: absent */
	char *replication_state;                         /* NULL, streaming, in archive recovery */
	int64_t timeline;                                /* 0: absent */
	/* -1 absent; 0 a promotion has not been checkpointed yet: nobody may rewind from here. */
	int checkpoint_after_promote;
	bool pending_restart;
	json_t *pending_restart_reason; /* object or NULL */
	json_t *scheduled_restart;      /* object or NULL */
	bool pause;
	json_t *pgherd; /* our own additions, object or NULL */
};

/*
 * Reads JSON, or the ancient "postgres://...?application_name=<api_url>". -EINVAL with err set when
 * it is neither; fields of a wrong type are as if absent.
 */
int herd_member_parse(const char *name, const char *text, size_t len, struct herd_member *ret,
		      struct herd_err *err);
/* Compact JSON in Patroni's order, malloc'd; NULL when out of memory. The name is not part of it.
 */
char *herd_member_print(const struct herd_member *m);
int herd_member_copy(const struct herd_member *from, struct herd_member *ret);
void herd_member_clear(struct herd_member *m);

/* Splits postgres://[user@]host:port/db; host is malloc'd. 0, -EINVAL or -ENOMEM. */
int herd_conn_url_parse(const char *url, char **host, int *port);
