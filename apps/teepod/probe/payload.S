# The payload of the acceleration probe: one boot sector that goes through what a kernel needs and then says so on
# the first serial port. An accelerator that only gets through firmware (some nested or emulated KVMs do) stops here:
#   long mode with paging, SSE2, BMI2 and AVX where CPUID offers them, timer interrupts that end `hlt`.
# Built by build.sh; the bytes stand in ../src/hypervisor/probe-payload.ts.

        .code16
        .globl  _start
_start:
        cli
        cld
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movw    $0x7000, %sp

        # Page tables at 0x1000: PML4, PDPT, one directory with one 2 MiB page, all identity.
        movw    $0x1000, %di
        movw    $(3 * 4096 / 2), %cx
        rep stosw
        movw    $0x2003, 0x1000
        movw    $0x3003, 0x2000
        movw    $0x0083, 0x3000

        lgdt    gdt_pointer
        movl    $0x620, %eax            # CR4: PAE, OSFXSR, OSXMMEXCPT
        movl    %eax, %cr4
        movl    $0x1000, %eax
        movl    %eax, %cr3
        movl    $0xc0000080, %ecx       # EFER.LME
        rdmsr
        orw     $0x100, %ax
        wrmsr
        movl    %cr0, %eax
        andb    $0xfb, %al              # no FPU emulation
        orl     $0x80000003, %eax       # paging, monitor, protected mode
        movl    %eax, %cr0
        ljmp    $8, $long_mode

        .code64
long_mode:
        # SSE2
        movl    $21, %eax
        movd    %eax, %xmm0
        paddd   %xmm0, %xmm0
        movd    %xmm0, %eax
        cmpl    $42, %eax
        jne     stop

        # AVX, if the CPU says it has XSAVE and AVX
        movl    $1, %eax
        cpuid
        notl    %ecx
        testl   $0x14000000, %ecx
        jnz     no_avx
        movq    %cr4, %rax
        orl     $0x40000, %eax          # OSXSAVE
        movq    %rax, %cr4
        xorl    %ecx, %ecx
        xorl    %edx, %edx
        movl    $7, %eax
        xsetbv
        vpaddd  %xmm0, %xmm0, %xmm1
        vmovd   %xmm1, %eax
        cmpl    $84, %eax
        jne     stop
no_avx:
        # BMI2, if the CPU says it has it
        xorl    %eax, %eax
        cpuid
        cmpl    $7, %eax
        jb      no_bmi2
        movl    $7, %eax
        xorl    %ecx, %ecx
        cpuid
        testl   $0x100, %ebx
        jz      no_bmi2
        movl    $3, %ecx
        shlx    %ecx, %ecx, %edx
        cmpl    $24, %edx
        jne     stop
no_bmi2:
        # One interrupt gate at vector 0x20 of an IDT at 0x4000
        movw    $tick, 0x4200
        movl    $0x8e000008, 0x4202
        movw    $0, 0x4206
        movq    $0, 0x4208
        lidt    idt_pointer
        # Interrupt controller: vectors from 0x20, only the timer lets through
        movb    $0x11, %al
        outb    %al, $0x20
        movb    $0x20, %al
        outb    %al, $0x21
        movb    $4, %al
        outb    %al, $0x21
        movb    $1, %al
        outb    %al, $0x21
        movb    $0xfe, %al
        outb    %al, $0x21
        xorl    %ebx, %ebx
wait:
        sti
        hlt
        cli
        cmpl    $3, %ebx
        jb      wait

        movl    $message, %esi
        movw    $0x3f8, %dx
next:
        lodsb
        testb   %al, %al
        jz      stop
        outb    %al, %dx
        jmp     next
stop:
        cli
        hlt
        jmp     stop

tick:
        incl    %ebx
        movb    $0x20, %al
        outb    %al, $0x20
        iretq

        .balign 8
gdt:
        .quad   0
        .quad   0x00209a0000000000      # 64-bit code
gdt_pointer:
        .word   15
        .long   gdt
idt_pointer:
        .word   0x20f
        .quad   0x4000
message:
        .asciz  "dstack probe ok\n"

        .org    510
        .word   0xaa55
