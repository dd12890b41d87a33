/*
 * ALTER TABLE with several subcommands, taken apart: each may reach the shards in its own way.
 */
#include "ddl/utility.h"

#include "executor/spi.h"

/* Behind a string, name, comment or dollar-quoted string that begins at p; p if none does. */
static const char *skip_quoted(const char *p)
{
	const char *tag, *end;

	if (*p == '\'' || *p == '"') {
		bool escapes = *p == '\'' && (p[-1] == 'E' || p[-1] == 'e');

		for (end = p + 1; *end; end++) {
			if (escapes && *end == '\\' && end[1])
				end++;
			else if (*end == *p && end[1] == *p)
				end++;
			else if (*end == *p)
				return end + 1;
		}
		return end;
	}
	if (p[0] == '-' && p[1] == '-')
		return p + strcspn(p, "\n");
	if (p[0] == '/' && p[1] == '*') {
		end = strstr(p + 2, "*/");
		return end ? end + 2 : p + strlen(p);
	}
	if (*p != '$')
		return p;
	tag = p + 1 + strspn(p + 1, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_");
	if (*tag != '$')
		return p;
	end = strstr(tag + 1, pnstrdup(p, tag + 1 - p));
	return end ? end + (tag + 1 - p) : p + strlen(p);
}

/* The parts between commas that stand in no parentheses. */
static List *split_at_commas(const char *list)
{
	List *parts = NIL;
	const char *start = list, *p = list;
	int depth = 0;

	while (*p) {
		const char *next = skip_quoted(p);

		if (next > p) {
			p = next;
			continue;
		}
		if (*p == '(' || *p == '[')
			depth++;
		else if (*p == ')' || *p == ']')
			depth--;
		else if (*p == ',' && depth == 0) {
			parts = lappend(parts, pnstrdup(start, p - start));
			start = p + 1;
		}
		p++;
	}
	return lappend(parts, pstrdup(start));
}

bool herd_utility_run_apart(HerdUtility *u)
{
	AlterTableStmt *stmt = castNode(AlterTableStmt, u->stmt);
	int end = herd_utility_name_end(u, stmt->relation->location);
	List *parts = split_at_commas(u->text + end);
	ListCell *lc;

	if (list_length(parts) != list_length(stmt->cmds))
		return false;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	foreach (lc, parts) {
		char *sql = psprintf("%.*s %s", end, u->text, (char *)lfirst(lc));
		int rc = SPI_execute(sql, false, 0);

		if (rc < 0)
			elog(ERROR, "cannot run \"%s\": %s", sql, SPI_result_code_string(rc));
	}
	SPI_finish();
	return true;
}
