/* id: b26_xdp_socket
 * title: an XDP socket in copy mode sends a frame
 * needs: root
 * expect: block
 * why: it passes neither the network stack nor tcx
 */
#include "../lib/bp.h"
#include <linux/if_xdp.h>
#include <net/if.h>
#include <sys/mman.h>
#define N 4
static unsigned sum(unsigned char*b,int n,unsigned s){for(int i=0;i<n;i+=2)s+=b[i]<<8|(i+1<n?b[i+1]:0);while(s>>16)s=(s&0xffff)+(s>>16);return s;}
int main(){ bp_init(); int s=socket(AF_XDP,SOCK_RAW,0); if(s<0){perror("AF_XDP");return 2;}
 unsigned char*u=mmap(0,4096*N,3,MAP_PRIVATE|MAP_ANONYMOUS,-1,0); struct xdp_umem_reg r={.addr=(unsigned long)u,.len=4096*N,.chunk_size=4096}; int n=N;
 if(setsockopt(s,SOL_XDP,XDP_UMEM_REG,&r,sizeof r)||setsockopt(s,SOL_XDP,XDP_UMEM_FILL_RING,&n,4)||setsockopt(s,SOL_XDP,XDP_UMEM_COMPLETION_RING,&n,4)||setsockopt(s,SOL_XDP,XDP_TX_RING,&n,4)){perror("setsockopt");return bp_finish();}
 struct xdp_mmap_offsets o; socklen_t l=sizeof o; if(getsockopt(s,SOL_XDP,XDP_MMAP_OFFSETS,&o,&l)){perror("offsets");return bp_finish();}
 unsigned char*t=mmap(0,o.tx.desc+N*sizeof(struct xdp_desc),3,MAP_SHARED|MAP_POPULATE,s,XDP_PGOFF_TX_RING); if(t==MAP_FAILED){perror("mmap");return bp_finish();}
 struct sockaddr_xdp a={.sxdp_family=AF_XDP,.sxdp_flags=XDP_COPY,.sxdp_ifindex=if_nametoindex("v0")}; if(bind(s,(void*)&a,sizeof a)){perror("bind");return 2;}
 unsigned char*f=u; memset(f,255,6); memset(f+6,2,6); f[12]=8; f[13]=0; unsigned char*i=f+14; int d=strlen(tok),len=28+d; memset(i,0,28); i[0]=0x45; i[2]=len>>8; i[3]=len; i[8]=64; i[9]=17; inet_pton(AF_INET,"10.99.0.1",i+12); inet_pton(AF_INET,BP_FORB,i+16); unsigned c=~sum(i,20,0); i[10]=c>>8; i[11]=c;
 i[20]=0x11; i[21]=0x5c; i[22]=8001>>8; i[23]=8001&255; i[24]=(8+d)>>8; i[25]=8+d; memcpy(i+28,tok,d);
 struct xdp_desc*q=(void*)(t+o.tx.desc); q[0]=(struct xdp_desc){.addr=0,.len=14+len}; __atomic_store_n((unsigned*)(t+o.tx.producer),1,__ATOMIC_RELEASE); if(sendto(s,0,0,MSG_DONTWAIT,0,0)<0) perror("send"); usleep(300000); return bp_finish(); }
