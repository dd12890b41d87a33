/*
 * base/list.h - an intrusive doubly linked list. The node is a member of the user's struct.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct herd_list {
	struct herd_list *prev, *next;
};

#define herd_container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

static inline void herd_list_init(struct herd_list *head)
{
	head->prev = head->next = head;
}
static inline bool herd_list_empty(const struct herd_list *head)
{
	return head->next == head;
}
static inline void herd_list_insert_between(struct herd_list *n, struct herd_list *prev,
					    struct herd_list *next)
{
	n->prev = prev;
	n->next = next;
	prev->next = n;
	next->prev = n;
}
static inline void herd_list_push_front(struct herd_list *head, struct herd_list *n)
{
	herd_list_insert_between(n, head, head->next);
}
static inline void herd_list_push_back(struct herd_list *head, struct herd_list *n)
{
	herd_list_insert_between(n, head->prev, head);
}
/* Leaves the node as an empty list, so removing twice does no harm. */
static inline void herd_list_remove(struct herd_list *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	herd_list_init(n);
}
/* Moves all that from holds to the end of head. */
static inline void herd_list_splice(struct herd_list *head, struct herd_list *from)
{
	if (herd_list_empty(from))
		return;
	head->prev->next = from->next;
	from->next->prev = head->prev;
	head->prev = from->prev;
	from->prev->next = head;
	herd_list_init(from);
}

#define herd_list_for_each(it, head)                                                               \
	for (struct herd_list *it = (head)->next; it != (head); it = it->next)
/* The current node may be removed. */
#define herd_list_for_each_safe(it, head)                                                          \
	for (struct herd_list *it = (head)->next, *it##_next = it->next; it != (head);             \
	     it = it##_next, it##_next = it->next)
