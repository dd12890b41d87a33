/*
 * ctl/ctl.h - `pgherd ctl`: operates a herd. Also called as pgherdctl and patronictl.
 */
#pragma once

/* argv[0] is the program's name. Returns its exit status: 0, 1 (failed), 2 (usage). */
int herd_ctl_main(int argc, char **argv);
