/* id: c46_scm_uring_sqpoll
 * title: a connected socket received over SCM_RIGHTS, sent on by the SQPOLL thread
 * needs: user
 * expect: block
 * why: as c01: the kernel thread sends for the workload
 */
#include "../lib/bp.h"
#include <liburing.h>
static int wait1(struct io_uring*r){ struct io_uring_cqe*c; struct __kernel_timespec ts={4,0}; int e=io_uring_wait_cqe_timeout(r,&c,&ts); if(e) return e; int x=c->res; io_uring_cqe_seen(r,c); return x; }
int main(){ bp_init(); struct io_uring r; struct io_uring_params p; memset(&p,0,sizeof p); p.flags=IORING_SETUP_SQPOLL; p.sq_thread_idle=2000; if(io_uring_queue_init_params(8,&r,&p)) return 2;
 int u=socket(AF_UNIX,SOCK_STREAM,0); struct sockaddr_un a={.sun_family=AF_UNIX}; snprintf(a.sun_path,100,"%s/fd.sock",getenv("BP_RUN")); if(connect(u,(void*)&a,sizeof a)){perror("fd.sock");return bp_finish();} dprintf(u,"connected %s 8000",BP_FORB);
 char b[8],cb[64]; struct iovec v={b,8}; struct msghdr m={.msg_iov=&v,.msg_iovlen=1,.msg_control=cb,.msg_controllen=64}; if(recvmsg(u,&m,0)<1) return bp_finish(); int s=*(int*)CMSG_DATA(CMSG_FIRSTHDR(&m));
 struct io_uring_sqe*q=io_uring_get_sqe(&r); strcat(tok,"\n"); io_uring_prep_send(q,s,tok,strlen(tok),0); io_uring_submit(&r); fprintf(stderr,"send=%d\n",wait1(&r)); tok[strlen(tok)-1]=0; usleep(300000); return bp_finish(); }
