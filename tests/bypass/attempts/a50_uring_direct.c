/* id: a50_uring_direct
 * title: io_uring with a direct descriptor: socket, connect and zero-copy send as one chain of linked entries
 * needs: user
 * expect: block
 * why: the socket is never in the table of file descriptors
 */
#include "../lib/bp.h"
#include <liburing.h>
int main(){ bp_init(); struct io_uring r; if(io_uring_queue_init(8,&r,0)||io_uring_register_files_sparse(&r,4)) {puts("no io_uring");return 2;}
 struct sockaddr_in F=bp_sa(BP_FORB,8000);
 struct io_uring_sqe*q=io_uring_get_sqe(&r); io_uring_prep_socket_direct(q,AF_INET,SOCK_STREAM,0,0,0); q->flags|=IOSQE_IO_LINK;
 q=io_uring_get_sqe(&r); io_uring_prep_connect(q,0,(void*)&F,sizeof F); q->flags|=IOSQE_IO_LINK|IOSQE_FIXED_FILE;
 q=io_uring_get_sqe(&r); io_uring_prep_send_zc(q,0,tok,strlen(tok),0,0); q->flags|=IOSQE_FIXED_FILE;
 io_uring_submit(&r); sleep(1); return bp_finish(); }
