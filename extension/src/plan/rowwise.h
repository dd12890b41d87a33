/*
 * plan/rowwise.h - UPDATE and DELETE row by row from the node that plans.
 *
 * For what shards cannot do because it uses rows of other nodes: BEFORE row triggers
 * (attach/before.h), and functions in SET and WHERE; and for what the copies of a reference table
 * would each do otherwise. The rows that may be changed are read and
 * locked first, by a SELECT FOR UPDATE, with the ctid that they have in their shards. Then each one
 * has the functions in WHERE asked, its new values computed, its triggers fired, and is written to
 * its shard before the next: functions see what the statement has done so far, as in PostgreSQL;
 * but for those that are not volatile, which are asked for all rows before the first is written.
 */
#pragma once
#include "postgres.h"

#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"

/* True for a statement, without its WITH, that is to be run so; an INSERT: by plan/insert.c. */
extern bool herd_rowwise_wanted(const Query *query);

/* True for one that shards may be able to do: plan/try.h. */
extern bool herd_rowwise_tried(const Query *query);

/* An UPDATE or DELETE in parts. */
typedef struct HerdRowwise {
	Query *select; /* of the rows: to be planned, as a statement of its own */
	List *exprs;   /* computed row by row: for the text, conditions, values */
	int nevals, nquals;
	Oid relid;
	CmdType command;
	bool joins;      /* a row may come several times */
	bool moves;      /* the distribution column is set */
	List *atts;      /* of int: columns of the table, the first of the SELECT; ctid is next */
	List *sets;      /* of int: columns that are set */
	List *positions; /* of int: of the SELECT, whose value each gets; 0: that of the next of
			    exprs */
	List *sent;  /* of TargetEntry, of the SELECT: keys, what RETURNING needs of other tables */
	List *keys;  /* of int: columns that say which row of a copy it is; NIL: ctid does */
	bool unique; /* they are a primary key */
	List *returning;
	bool partitioned; /* behind ctid comes tableoid, as regclass, and is the first of sent */
	int code;         /* MERGE: column of the SELECT with the number of the action */
	List *actions;    /* of List: command, sets and positions of each */
} HerdRowwise;

/* Column of the row of values with this one of the SELECT; 0 is that of none. */
extern int herd_rowwise_sent(HerdRowwise *parts, int pos);
/*
 * Rows of a reference table are in other places in its copies. whole: the row must be as it was
 * read.
 */
extern void herd_rowwise_take_keys(HerdRowwise *parts, bool whole);

/* False: not possible. The query is not changed. */
extern bool herd_rowwise(const Query *query, HerdRowwise *parts);

/* Its plan, without targetlist; select: the plan of parts->select; returning: its columns. */
extern CustomScan *herd_rowwise_plan(const HerdRowwise *parts, PlannedStmt *select,
				     List *returning);

/* Registers the CustomScan methods. */
extern void herd_rowwise_init(void);

/* -- plan/rowwise_far.c ------------------------------------------------------------------------ */

/*
 * Changes the SELECT of rows of its relation target, which begins with the columns atts, ctid and
 * for a partitioned table tableoid, so that it can be planned, whatever else it reads. False: it
 * cannot.
 */
extern bool herd_rowwise_far(HerdRowwise *parts, int target);

/* -- plan/rowwise_write.c ---------------------------------------------------------------------- */

/*
 * One row is written: the relation that has it in the text, number 2, is a row of values. An INSERT
 * is a MERGE with one action, whose RETURNING has that row, too.
 */
typedef struct HerdRowWrite {
	Oid relid;
	CmdType command;
	List *sent; /* of TargetEntry: those of keys, what RETURNING needs, columns 2.. */
	List *keys; /* of int: as above */
	bool unique;
	bool partitioned; /* as above */
	List *columns;    /* of int: attribute numbers, that are set, columns after these */
} HerdRowWrite;

/*
 * UPDATE or DELETE of the row with the ctid in column 1, without RETURNING. With keys, for the
 * copies of a reference table: of the row with these, or, unless they are unique, of any that is
 * the same.
 */
extern Query *herd_row_write_query(const HerdRowWrite *write);
/* SELECT of how many rows with the ctid, and tableoid, of a list of values are there; locks them.
 */
extern Query *herd_row_lock_query(Oid relid, bool partitioned);
/* The list to be filled with a row of Const. */
extern List **herd_row_write_values(Query *query);
