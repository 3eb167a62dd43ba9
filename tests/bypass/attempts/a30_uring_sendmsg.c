/* id: a30_uring_sendmsg
 * title: io_uring IORING_OP_SENDMSG on an unconnected UDP socket
 * needs: user
 * expect: block
 * why: no sendmsg system call
 */
#include "../lib/bp.h"
#include <liburing.h>
int main(){ bp_init(); struct io_uring r; if(io_uring_queue_init(8,&r,0)) {puts("no io_uring");return 2;} int s=socket(AF_INET,SOCK_DGRAM,0); struct sockaddr_in F=bp_sa(BP_FORB,8001);
 struct iovec v={tok,strlen(tok)}; struct msghdr m; memset(&m,0,sizeof m); m.msg_name=&F; m.msg_namelen=sizeof F; m.msg_iov=&v; m.msg_iovlen=1;
 struct io_uring_sqe*q=io_uring_get_sqe(&r); io_uring_prep_sendmsg(q,s,&m,0); io_uring_submit(&r); struct io_uring_cqe*c; struct __kernel_timespec ts={3,0}; io_uring_wait_cqe_timeout(&r,&c,&ts); return bp_finish(); }
