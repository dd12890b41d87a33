/*
 * demo/layout.h - where the parts of a demo herd are: names, ports, directories.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum { DEMO_ENDPOINTS = 3 };

/* What the base port stands for; the offsets of everything that listens. */
enum {
	DEMO_PORT_WRITES = 0,
	DEMO_PORT_WORKERS = 1,
	DEMO_PORT_READS = 2,
	DEMO_PORT_ETCD = 3,
	DEMO_PORT_ETCD_PEER = 4,
	DEMO_PORT_CONSOLE = 5,  /* the proxy's PgBouncer port */
	DEMO_PORT_MEMBERS = 10, /* PostgreSQL of member i at + 2 i, its REST API at + 2 i + 1 */
};

struct demo_member {
	char *name; /* coord1, work2-1 */
	int group;
	int pg_port;
	int rest_port;
};

struct demo {
	char *dir;
	char *exe;     /* <dir>/bin/pgherd, a copy that a rebuild does not touch */
	char *bin_dir; /* PostgreSQL's programs */
	char *password;
	int base_port;
	int workers;  /* worker groups, 1..32 */
	int replicas; /* members of a worker group, 1..8; the coordinator has one more */
	size_t nmembers;
	struct demo_member *members; /* by group, then number */
};

/* Fills members from the numbers. 0, -EINVAL (out of range) or -ENOMEM. */
int demo_layout_members(struct demo *d, struct herd_err *err);
/* <dir>/demo.json: reads what an earlier start has chosen. -ENOENT when there is no herd. */
int demo_layout_load(struct demo *d, struct herd_err *err);
int demo_layout_save(const struct demo *d, struct herd_err *err);
void demo_layout_free(struct demo *d);
/* "<dir>/<format>", malloc'd; exits the program when out of memory. */
char *demo_path(const struct demo *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Every file that the programs read: agents' YAML, the proxy's ini and user list, pgpass. */
int demo_write_files(const struct demo *d, struct herd_err *err);
/* Writes text with mode 0600, atomically. */
int demo_write_file(const char *path, const char *text, struct herd_err *err);
