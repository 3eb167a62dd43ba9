/* id: c47_uring_msg_ring
 * title: a connected socket received over SCM_RIGHTS, handed from ring to ring (IORING_OP_MSG_RING) and sent on from a table that only the second one has
 * needs: user
 * expect: block
 * why: as c01; no process has a descriptor of the socket any more
 */
#include "../lib/bp.h"
#include <liburing.h>
static int wait1(struct io_uring*r){ struct io_uring_cqe*c; struct __kernel_timespec ts={4,0}; int e=io_uring_wait_cqe_timeout(r,&c,&ts); if(e) return e; int x=c->res; io_uring_cqe_seen(r,c); return x; }
int main(){ bp_init(); struct io_uring r,t; if(io_uring_queue_init(8,&r,0)||io_uring_queue_init(8,&t,0)||io_uring_register_files_sparse(&t,4)) return 2;
 int u=socket(AF_UNIX,SOCK_STREAM,0); struct sockaddr_un a={.sun_family=AF_UNIX}; snprintf(a.sun_path,100,"%s/fd.sock",getenv("BP_RUN")); if(connect(u,(void*)&a,sizeof a)){perror("fd.sock");return bp_finish();} dprintf(u,"connected %s 8000",BP_FORB);
 char b[8],cb[64]; struct iovec v={b,8}; struct msghdr m={.msg_iov=&v,.msg_iovlen=1,.msg_control=cb,.msg_controllen=64}; if(recvmsg(u,&m,0)<1) return bp_finish(); int s=*(int*)CMSG_DATA(CMSG_FIRSTHDR(&m));
 if(io_uring_register_files(&r,&s,1)) return 2;
 close(s);
 struct io_uring_sqe*q=io_uring_get_sqe(&r); memset(q,0,sizeof*q); q->opcode=40; q->fd=t.ring_fd; q->addr=1; q->addr3=0; q->file_index=1; /* send the file at 0, to place 0 */
 io_uring_submit(&r); int e=wait1(&r); if(e<0){fprintf(stderr,"msg_ring=%d\n",e);return 2;} wait1(&t);
 q=io_uring_get_sqe(&t); strcat(tok,"\n"); io_uring_prep_send(q,0,tok,strlen(tok),0); q->flags|=IOSQE_FIXED_FILE; io_uring_submit(&t); fprintf(stderr,"send=%d\n",wait1(&t)); tok[strlen(tok)-1]=0; usleep(300000); return bp_finish(); }
