/* id: c23_clone_parent
 * title: clone with CLONE_PARENT: the child has another parent
 * needs: user
 * expect: block
 * why: lineage must come from who forks, not from the parent
 */
#include "../lib/bp.h"
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
int main(){ bp_init(); long p=syscall(SYS_clone,CLONE_PARENT|SIGCHLD,0,0,0,0); if(p<0){perror("clone");return 2;}
 if(p==0){ usleep(200000); int s=socket(AF_INET,SOCK_STREAM,0); struct sockaddr_in F=bp_sa(BP_FORB,8000); if(connect(s,(void*)&F,sizeof F)) perror("connect"); if(write(s,tok,strlen(tok))<0) perror("write"); char b[100]; if(read(s,b,100)<0) perror("read"); _exit(0);} usleep(700000); return bp_finish(); }
