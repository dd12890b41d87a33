#include "shared.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

/* No large table takes all of its room at the start. */
#define FIRST_ENTRIES 1000

typedef struct Part {
	const char *name;
	Size size, per_backend;
	void (*fresh)(void *);
	void **memory;
	long entries; /* of a hash table; 0: it is a struct */
	Size keysize;
	HTAB **table;
	LWLock **lock;
} Part;

enum { MAX_PARTS = 16 };

static Part parts[MAX_PARTS];
static int nparts;
static shmem_startup_hook_type next_startup;
static shmem_request_hook_type next_request;

static void add(Part part)
{
	if (nparts == MAX_PARTS)
		elog(ERROR, "too many parts of shared memory");
	parts[nparts++] = part;
}

void herd_shared_struct(const char *name, Size size, Size per_backend, void (*fresh)(void *),
			void **memory, LWLock **lock)
{
	add((Part){ .name = name,
		    .size = size,
		    .per_backend = per_backend,
		    .fresh = fresh,
		    .memory = memory,
		    .lock = lock });
}

void herd_shared_table(const char *name, long entries, Size keysize, Size entrysize, HTAB **table,
		       LWLock **lock)
{
	add((Part){ .name = name,
		    .size = entrysize,
		    .entries = entries,
		    .keysize = keysize,
		    .table = table,
		    .lock = lock });
}

static Size struct_size(const Part *part)
{
	return add_size(part->size, mul_size(part->per_backend, MaxBackends));
}

static void request(void)
{
	if (next_request)
		next_request();
	for (int i = 0; i < nparts; i++) {
		const Part *part = &parts[i];

		RequestAddinShmemSpace(part->entries > 0
					       ? hash_estimate_size(part->entries, part->size)
					       : MAXALIGN(struct_size(part)));
		if (part->lock)
			RequestNamedLWLockTranche(part->name, 1);
	}
}

static void start(const Part *part)
{
	HASHCTL ctl = { .keysize = part->keysize, .entrysize = part->size };
	bool found;

	if (part->entries > 0) {
		*part->table = ShmemInitHash(part->name, Min(part->entries, FIRST_ENTRIES),
					     part->entries, &ctl, HASH_ELEM | HASH_BLOBS);
	} else {
		*part->memory = ShmemInitStruct(part->name, struct_size(part), &found);
		if (!found)
			memset(*part->memory, 0, struct_size(part));
		if (!found && part->fresh)
			part->fresh(*part->memory);
	}
	if (part->lock)
		*part->lock = &GetNamedLWLockTranche(part->name)->lock;
}

static void startup(void)
{
	if (next_startup)
		next_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	for (int i = 0; i < nparts; i++)
		start(&parts[i]);
	LWLockRelease(AddinShmemInitLock);
}

void herd_shared_init(void)
{
	next_request = shmem_request_hook;
	shmem_request_hook = request;
	next_startup = shmem_startup_hook;
	shmem_startup_hook = startup;
}
