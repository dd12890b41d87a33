/*
 * ctl/internal.h - what the commands of ctl share: the configuration, the cluster as the store
 * shows it, members' REST interface, questions to the user.
 *
 * Everything here waits for its result; functions that fail print "Error: ..." on stderr and return
 * -1, so that a command only passes its status on.
 */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "ctl/args.h"
#include "ctl/table.h"
#include "dcs/dcs.h"
#include "http/client.h"
#include "loop/loop.h"
#include "model/cluster.h"

#define CTL_PATRONI_VERSION "4.1.4" /* whose interfaces we speak */

enum { CTL_OK = 0, CTL_FAILED = 1, CTL_USAGE = 2, CTL_DCS_TIMEOUT_MS = 10000 };

struct ctl {
	const char *prog;
	json_t *config;
	struct herd_loop *loop;
	struct herd_http_client *http;
	bool insecure;
};

/* ctl.c */
/* Usage, and what is wrong, on stderr; v NULL: of the program. CTL_USAGE. */
int ctl_usage_error(const char *prog, const struct ctl_verb *v, const char *why);

/* config.c */
/*
 * The configuration of ctl: the file (NULL: the default one, which may be missing), PATRONI_* of
 * the environment over it, and the store's url (may be NULL) over both.
 */
json_t *ctl_config_load(const char *file, const char *dcs_url, struct herd_err *err);

/* say.c */
int ctl_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* "Error: ..."; -1 */
int ctl_fail_err(const struct herd_err *err, const char *what);
/* Local time with `digits` decimals of the second; malloc'd. */
char *ctl_timestamp(int digits);
/* Asks on the terminal; default_answer may be NULL. NULL at the end of input ("Aborted!"). */
char *ctl_prompt(const char *question, const char *default_answer);
/* [y/N]; -1 at the end of input. */
int ctl_confirm(const char *question);
/* Waits for *done, telling on a terminal that (and how long) it waits. False after timeout_ms. */
bool ctl_wait(struct ctl *c, const bool *done, int64_t timeout_ms, const char *what);
/*
 * "2026-11-22T05:04", in local time when it has no zone, as ISO text with the zone and as ms since
 * the epoch. "now" gives NULL text. 0 or -EINVAL.
 */
int ctl_when(const char *text, char **iso, int64_t *ms);

/* cluster.c */
struct ctl_cluster {
	struct ctl *ctl;
	char *name;
	struct herd_dcs *dcs;
	struct herd_dcs_view *view;
	struct herd_scope *scope;
	struct herd_cluster empty; /* stands in for a group without keys */
};
/* Reads the cluster's keys; name NULL: the scope of the configuration. */
int ctl_open(struct ctl *c, const char *name, struct ctl_cluster *ret);
int ctl_refresh(struct ctl_cluster *k);
void ctl_close(struct ctl_cluster *k);
bool ctl_is_sharded(const struct ctl_cluster *k);
/*
 * The group a command is for: --group, else the configuration's citus.group when use_config, else
 * HERD_NO_GROUP. -EINVAL after an error message.
 */
int ctl_group_option(struct ctl *c, const struct ctl_args *a, bool use_config, int *ret);
/*
 * The group's documents (empty ones when it has none); fails when it is a sharded cluster and no
 * group is named.
 */
const struct herd_cluster *ctl_group(struct ctl_cluster *k, int group);
/* Whether a command for `group` (HERD_NO_GROUP: for all) is for g. */
bool ctl_in_group(const struct ctl_cluster *k, const struct herd_cluster *g, int group);
/* The group that a member of the scope is in. */
const struct herd_cluster *ctl_group_of(const struct ctl_cluster *k, const struct herd_member *m);
/*
 * The members that the words from (inclusive) .. to (exclusive) name, all when there are none; only
 * those with the role (NULL: any). How many; 0 after an error message. *ret is the caller's to
 * free.
 */
size_t ctl_choose(const struct ctl_cluster *k, int group, const char *role,
		  const struct ctl_args *a, size_t from, size_t to,
		  const struct herd_member ***ret);
/* One member with an address: --member, or the first with --role. NULL after an error message. */
const struct herd_member *ctl_pick(const struct ctl_cluster *k, int group, const struct ctl_args *a,
				   const char *default_role);
bool ctl_has_role(const struct herd_cluster *g, const struct herd_member *m, const char *role);
/* Change of a key of the group: when it is at this version (0: absent, -1: whatever it is). */
enum herd_dcs_result ctl_change(struct ctl_cluster *k, int group, const char *key,
				const char *value, int64_t version, struct herd_err *err);

/* rest.c */
struct ctl_reply {
	int status; /* 0: no answer, err says why */
	char *body;
	struct herd_err err;
};
/* A call to a member: path without slash ("restart"); body NULL: none. */
void ctl_rest(struct ctl *c, const struct herd_member *m, const char *method, const char *path,
	      const json_t *body, int64_t timeout_ms, const char *what, struct ctl_reply *ret);
void ctl_reply_clear(struct ctl_reply *r);

/* rows.c */
struct ctl_listing {
	json_t *rows; /* for ctl_table_print */
	char *title;  /* " Citus cluster: demo " */
	char *footer; /* lines, or "" */
	size_t n_cols;
	struct ctl_column cols[16];
};
/* group HERD_NO_GROUP: all groups. topology: as a tree. */
int ctl_listing_make(const struct herd_scope *scope, const char *name, int group,
		     enum ctl_format format, bool extended, bool topology, struct ctl_listing *ret);
void ctl_listing_clear(struct ctl_listing *l);
/* Prints the members' table. */
int ctl_print_members(const struct ctl_cluster *k, int group, enum ctl_format format, bool extended,
		      bool topology);
/* The role as `list` shows it. */
const char *ctl_role_text(const struct herd_cluster *g, const struct herd_member *m);

/* diff.c */
/* Unified diff with three lines of context, "" when equal; malloc'd. */
char *ctl_diff(const char *before, const char *after);

extern const struct ctl_verb ctl_list, ctl_topology, ctl_switchover, ctl_failover, ctl_restart,
	ctl_reload, ctl_reinit, ctl_flush, ctl_pause, ctl_resume, ctl_edit_config, ctl_show_config,
	ctl_history, ctl_version, ctl_query, ctl_dsn, ctl_explain, ctl_remove, ctl_demote_cluster,
	ctl_promote_cluster;
