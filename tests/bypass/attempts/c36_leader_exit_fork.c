/* id: c36_leader_exit_fork
 * title: the leader ends; another thread forks, and the child connects after it executed a program
 * needs: user
 * expect: block
 * why: c34 and c35 together: a child of a process without its leader
 */
#include "../lib/bp.h"
#include <pthread.h>
static void*work(void*x){ usleep(300000); if(fork()==0){ char p[300]; snprintf(p,300,"%s/build/conn.static",getenv("BP_DIR")); execl(p,p,BP_FORB,"8000",tok,(char*)0); _exit(1); } usleep(900000); _exit(bp_finish()); }
int main(){ bp_init(); pthread_t t; pthread_create(&t,0,work,0); pthread_exit(0); }
