/* id: c34_leader_exit
 * title: the first thread ends; a second one connects later
 * needs: user
 * expect: block
 * why: the process lives on after its leader: its entry must as well
 */
#include "../lib/bp.h"
#include <pthread.h>
static void*work(void*x){ usleep(500000); int s=socket(AF_INET,SOCK_STREAM,0); struct sockaddr_in F=bp_sa(BP_FORB,8000); if(connect(s,(void*)&F,sizeof F)) perror("connect"); else if(write(s,tok,strlen(tok))<0) perror("write"); char b[100]; usleep(200000); recv(s,b,100,MSG_DONTWAIT); _exit(bp_finish()); }
int main(){ bp_init(); pthread_t t; pthread_create(&t,0,work,0); pthread_exit(0); }
