/* id: a53_uring_send_zc
 * title: io_uring IORING_OP_SEND_ZC from a registered buffer, to an address of its own
 * needs: user
 * expect: block
 * why: no system call names a destination, and the bytes are never copied
 */
#include "../lib/bp.h"
#include <liburing.h>
int main(){ bp_init(); struct io_uring r; if(io_uring_queue_init(8,&r,0)) {puts("no io_uring");return 2;} int s=socket(AF_INET,SOCK_DGRAM,0); struct sockaddr_in F=bp_sa(BP_FORB,8001); static char page[4096]__attribute__((aligned(4096))); strcpy(page,tok);
 struct iovec v={page,sizeof page}; if(io_uring_register_buffers(&r,&v,1)){puts("no buffers");return 2;} struct io_uring_sqe*q=io_uring_get_sqe(&r); io_uring_prep_send_zc_fixed(q,s,page,strlen(tok),0,0,0); io_uring_prep_send_set_addr(q,(void*)&F,sizeof F); io_uring_submit(&r);
 struct io_uring_cqe*c; struct __kernel_timespec ts={3,0}; if(!io_uring_wait_cqe_timeout(&r,&c,&ts)) fprintf(stderr,"send=%d\n",c->res); return bp_finish(); }
