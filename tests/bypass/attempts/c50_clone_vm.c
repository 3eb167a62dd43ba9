/* id: c50_clone_vm
 * title: a child that shares memory and files with its parent, but is no thread of it (clone with CLONE_VM and CLONE_FILES), connects
 * needs: user
 * expect: block
 * why: it has a process id of its own, no exec and no fork(2)
 */
#include "../lib/bp.h"
#include <sched.h>
#include <sys/wait.h>
#include <signal.h>
static char stack[1 << 16];
static int child(void*x){ int s=socket(AF_INET,SOCK_STREAM,0); struct sockaddr_in F=bp_sa(BP_FORB,8000); if(connect(s,(void*)&F,sizeof F)) return 1; send(s,tok,strlen(tok),0); usleep(300000); return 0; }
int main(){ bp_init(); int p=clone(child,stack+sizeof stack,CLONE_VM|CLONE_FILES|CLONE_FS|CLONE_SIGHAND|SIGCHLD,0); if(p<0){puts("no clone");return 2;} waitpid(p,0,0); return bp_finish(); }
