/*
 * agent/init.h - the agent as process 1 of a container.
 */
#pragma once

/*
 * Returns at once unless we are process 1. Else it returns in a child that does the work; process 1
 * passes HUP, INT, QUIT, TERM, ABRT, USR1 and USR2 on to it, reaps what is orphaned, and ends with
 * the child's status.
 */
void herd_init_become(void);
