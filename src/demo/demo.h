/*
 * demo/demo.h - `pgherd demo`: a whole herd on this machine, for trying it out and for tests.
 *
 * A coordinator group and worker groups, each member run by an agent of its own, an etcd, and one
 * proxy, all on 127.0.0.1 and below one directory. It writes the files an administrator would
 * write and starts the programs an administrator would start; nothing in it is special.
 */
#pragma once

/* Exit status: 0 done, 1 failed, 2 wrong arguments. */
int herd_demo_main(int argc, char **argv);
