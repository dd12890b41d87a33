/*
 * tools/tools.h - the small programs that Patroni installs beside the agent: run by hooks and by
 * replica creation methods, they do one thing and end.
 *
 * Each main takes argv as its own program and returns the exit code that the peer documents.
 */
#pragma once

/*
 * patroni_barman: restores a backup, or switches the configuration, of a Barman server through
 * pg-backup-api. Exit codes of "recover": 0 done, 1 failed, 2 the API is not OK, 3 HTTP error; of
 * "config-switch": 0 done, 1 skipped, 2 failed, 3 the API is not OK, 4 HTTP error, 5 arguments.
 */
int herd_barman_main(int argc, char **argv);

/*
 * patroni_wale_restore: fetches the latest WAL-E backup when that is less work than a base backup.
 * Exit codes: 0 done, 1 try again later, 2 use another method.
 */
int herd_wale_main(int argc, char **argv);

/* patroni_aws: a callback that tags the EC2 instance and its volumes with their role. */
int herd_aws_main(int argc, char **argv);
