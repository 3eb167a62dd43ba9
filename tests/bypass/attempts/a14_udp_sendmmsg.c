/* id: a14_udp_sendmmsg
 * title: sendmmsg: the first message to the allowed address, the second to the forbidden one
 * needs: user
 * expect: block
 * why: each message has its own destination
 */
#include "../lib/bp.h"
int main(){ bp_init(); int s=socket(AF_INET,SOCK_DGRAM,0); struct sockaddr_in A=bp_sa(BP_ALLOW,8443),F=bp_sa(BP_FORB,8001); struct iovec v={tok,strlen(tok)}; struct mmsghdr m[3]; memset(m,0,sizeof m);
 for(int i=0;i<3;i++){ m[i].msg_hdr.msg_iov=&v; m[i].msg_hdr.msg_iovlen=1; m[i].msg_hdr.msg_name=i==1?(void*)&F:(void*)&A; m[i].msg_hdr.msg_namelen=sizeof A; }
 sendmmsg(s,m,3,0); sendmmsg(s,m+1,2,0); return bp_finish(); }
