/* id: c35_thread_exec
 * title: a thread that is not the leader executes a program
 * needs: user
 * expect: block
 * why: the thread takes over the id of the process while the leader ends
 */
#include "../lib/bp.h"
#include <pthread.h>
static void*work(void*x){ usleep(200000); char p[300]; snprintf(p,300,"%s/build/conn.static",getenv("BP_DIR")); execl(p,p,BP_FORB,"8000",tok,(char*)0); return 0; }
int main(){ bp_init(); if(fork()==0){ pthread_t t; pthread_create(&t,0,work,0); for(;;) pause(); } usleep(1200000); return bp_finish(); }
