/* id: c48_seccomp_addfd
 * title: a connected socket that a supervisor puts into another process (SECCOMP_IOCTL_NOTIF_ADDFD), which writes to it
 * needs: user
 * expect: block
 * why: the process that sends never received or made the socket
 */
#include "../lib/bp.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
static int pass(int u,int fd){ char b='x',cb[64]={0}; struct iovec v={&b,1}; struct msghdr m={.msg_iov=&v,.msg_iovlen=1,.msg_control=cb,.msg_controllen=CMSG_SPACE(4)}; struct cmsghdr*c=CMSG_FIRSTHDR(&m); c->cmsg_level=SOL_SOCKET; c->cmsg_type=SCM_RIGHTS; c->cmsg_len=CMSG_LEN(4); *(int*)CMSG_DATA(c)=fd; return sendmsg(u,&m,0); }
static int take(int u){ char b[8],cb[64]; struct iovec v={b,8}; struct msghdr m={.msg_iov=&v,.msg_iovlen=1,.msg_control=cb,.msg_controllen=64}; return recvmsg(u,&m,0)<1?-1:*(int*)CMSG_DATA(CMSG_FIRSTHDR(&m)); }
int main(){ bp_init(); int p[2]; socketpair(AF_UNIX,SOCK_STREAM,0,p); int child=fork();
 if(!child){ struct sock_filter f[]={BPF_STMT(BPF_LD|BPF_W|BPF_ABS,offsetof(struct seccomp_data,nr)),BPF_JUMP(BPF_JMP|BPF_JEQ|BPF_K,SYS_getppid,0,1),BPF_STMT(BPF_RET|BPF_K,SECCOMP_RET_USER_NOTIF),BPF_STMT(BPF_RET|BPF_K,SECCOMP_RET_ALLOW)}; struct sock_fprog g={4,f}; prctl(PR_SET_NO_NEW_PRIVS,1,0,0,0);
  int l=syscall(SYS_seccomp,SECCOMP_SET_MODE_FILTER,SECCOMP_FILTER_FLAG_NEW_LISTENER,&g); if(l<0){perror("seccomp");_exit(2);} pass(p[1],l); int s=syscall(SYS_getppid); strcat(tok,"\n"); if(write(s,tok,strlen(tok))<0) perror("write"); usleep(300000); _exit(0); }
 int l=take(p[0]); if(l<0) return 2;
 int u=socket(AF_UNIX,SOCK_STREAM,0); struct sockaddr_un a={.sun_family=AF_UNIX}; snprintf(a.sun_path,100,"%s/fd.sock",getenv("BP_RUN")); if(connect(u,(void*)&a,sizeof a)){perror("fd.sock");kill(child,9);return bp_finish();} dprintf(u,"connected %s 8000",BP_FORB); int s=take(u);
 struct seccomp_notif n; memset(&n,0,sizeof n); if(ioctl(l,SECCOMP_IOCTL_NOTIF_RECV,&n)) return 2;
 struct seccomp_notif_addfd d={.id=n.id,.flags=SECCOMP_ADDFD_FLAG_SEND,.srcfd=s}; if(ioctl(l,SECCOMP_IOCTL_NOTIF_ADDFD,&d)<0){perror("addfd");return 2;} close(s); waitpid(child,0,0); return bp_finish(); }
