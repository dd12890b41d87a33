/*
 * loop/internal.h - what loop.c and child.c share.
 */
#pragma once
#include "base/list.h"

struct event_base;

struct herd_loop {
	struct event_base *base;
	struct herd_list children;
};

/* Frees the handles of children; the processes go on. */
void herd_children_forget(struct herd_loop *l);
