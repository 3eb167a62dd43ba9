/* id: c22_uring_older
 * title: an io_uring with SQPOLL whose thread is older than governd
 * needs: user
 * stage: late-daemon
 * expect: block
 * why: the thread was never seen to fork
 */
#include "../lib/bp.h"
#include <liburing.h>
static int wait1(struct io_uring*r){ struct io_uring_cqe*c; struct __kernel_timespec ts={4,0}; int e=io_uring_wait_cqe_timeout(r,&c,&ts); if(e) return e; int x=c->res; io_uring_cqe_seen(r,c); return x; }
int main(){ bp_init(); struct io_uring r; struct io_uring_params p; memset(&p,0,sizeof p); p.flags=IORING_SETUP_SQPOLL; p.sq_thread_idle=2000; if(io_uring_queue_init_params(8,&r,&p)) return 2; int s=socket(AF_INET,SOCK_STREAM,0);
 puts("CONNECTED"); fflush(stdout); char*g=getenv("BP_POLICY_FLAG"); for(int i=0;g&&access(g,F_OK)&&i<600;i++) usleep(50000);
 struct sockaddr_in F=bp_sa(BP_FORB,8000); struct io_uring_sqe*q=io_uring_get_sqe(&r); io_uring_prep_connect(q,s,(void*)&F,sizeof F); io_uring_submit(&r); fprintf(stderr,"connect=%d\n",wait1(&r));
 q=io_uring_get_sqe(&r); io_uring_prep_send(q,s,tok,strlen(tok),0); io_uring_submit(&r); wait1(&r); return bp_finish(); }
