/* id: c51_vfork_shared
 * title: a vfork child opens the socket, its parent connects and sends with it
 * needs: user
 * expect: block
 * why: who made the socket has ended, and never ran a program of its own
 */
#include "../lib/bp.h"
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
static char stack[1 << 16];
static int made=-1;
static int child(void*x){ made=socket(AF_INET,SOCK_STREAM,0); return 0; }
int main(){ bp_init(); int p=clone(child,stack+sizeof stack,CLONE_VM|CLONE_VFORK|CLONE_FILES|SIGCHLD,0); if(p<0){puts("no clone");return 2;} waitpid(p,0,0);
 struct sockaddr_in F=bp_sa(BP_FORB,8000); if(!connect(made,(void*)&F,sizeof F)) send(made,tok,strlen(tok),0); return bp_finish(); }
