/* id: a10_uring_async
 * title: io_uring with IOSQE_ASYNC: connect in a worker thread
 * needs: user
 * expect: block
 * why: the worker has the tgid of the process and another pid
 */
#include "../lib/bp.h"
#include <liburing.h>
static int wait1(struct io_uring*r){ struct io_uring_cqe*c; struct __kernel_timespec ts={4,0}; int e=io_uring_wait_cqe_timeout(r,&c,&ts); if(e) return e; int x=c->res; io_uring_cqe_seen(r,c); return x; }
int main(){ bp_init(); struct io_uring r; if(io_uring_queue_init(8,&r,0)) {puts("no io_uring");return 2;} int s=socket(AF_INET,SOCK_STREAM,0);
 struct sockaddr_in F=bp_sa(BP_FORB,8000); struct io_uring_sqe*q=io_uring_get_sqe(&r); io_uring_prep_connect(q,s,(void*)&F,sizeof F); q->flags|=IOSQE_ASYNC; io_uring_submit(&r); fprintf(stderr,"connect=%d\n",wait1(&r));
 q=io_uring_get_sqe(&r); io_uring_prep_send(q,s,tok,strlen(tok),0); q->flags|=IOSQE_ASYNC; io_uring_submit(&r); wait1(&r); return bp_finish(); }
