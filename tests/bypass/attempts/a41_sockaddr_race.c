/* id: a41_sockaddr_race
 * title: a thread changes the address in memory while another calls connect
 * needs: user
 * expect: block
 * why: the hook must judge the copy that the kernel uses
 */
#include "../lib/bp.h"
#include <pthread.h>
static struct sockaddr_in A; static volatile int begun, stop; static unsigned allowed,forbidden;
static void*flip(void*x){ volatile unsigned*p=(void*)&A.sin_addr.s_addr; while(!stop){ *p=allowed; *p=forbidden; begun=1; } return 0; }
/* Both need turns, also where they share a processor: as long as nobody flips there is no race. */
int main(){ bp_init(); A=bp_sa(BP_ALLOW,8446); allowed=A.sin_addr.s_addr; forbidden=bp_sa(BP_FORB,8446).sin_addr.s_addr; pthread_t t; pthread_create(&t,0,flip,0); char m[64]; snprintf(m,64,"%s\n",tok); while(!begun) usleep(100);
 for(int i=0;i<1500;i++){ usleep(500); int s=socket(AF_INET,SOCK_STREAM,0); struct timeval w={0,300000}; setsockopt(s,SOL_SOCKET,SO_SNDTIMEO,&w,sizeof w); if(!connect(s,(void*)&A,sizeof A)){ struct sockaddr_in p; socklen_t n=sizeof p; getpeername(s,(void*)&p,&n); if(p.sin_addr.s_addr==forbidden){ if(write(s,m,strlen(m))<0) perror("write"); usleep(100000); close(s); break; } } close(s); }
 stop=1; pthread_join(t,0); return bp_finish(); }
