// SPDX-License-Identifier: GPL-2.0
/*
 * What Linux shows of TDX, for tests: /dev/tdx_guest with its ioctls, the registers in sysfs as since Linux 6.16, and
 * quotes through configfs-tsm. Behind them is no hardware but a process that reads requests from /dev/tdx_platform and
 * writes the answers. Built for Linux 6.12. NEVER part of an image: it makes any process a TDX module.
 */
#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/tsm.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

#define DIGEST_BYTES 48
#define REPORT_BYTES 1024
#define MAX_ANSWER_BYTES SZ_32K

enum { OP_REPORT = 1, OP_EXTEND = 2, OP_READ = 3, OP_QUOTE = 4 };

/* What the platform's process reads, and the start of what it writes. */
struct platform_request {
	__le32 id;
	__le32 op;
	__le32 index;
	u8 data[64];
} __packed;

struct platform_answer {
	__le32 id;
	__le32 error; /* an errno, or 0 */
} __packed;

/* One request at a time, as with the real thing. */
static DEFINE_MUTEX(platform_turn);
static DEFINE_SPINLOCK(platform_lock);
static DECLARE_WAIT_QUEUE_HEAD(platform_wait);
static struct {
	enum { IDLE, ASKED, TAKEN, ANSWERED } state;
	struct platform_request request;
	int error;
	u8 *answer;
	size_t length;
	u32 last_id;
	bool present;
} platform;

static bool platform_settled(void)
{
	return READ_ONCE(platform.state) == ANSWERED || !READ_ONCE(platform.present);
}

/* Asks the process. On success *answer, which the caller frees, has *length bytes. */
static int ask_platform(u32 op, u32 index, const u8 *data, size_t data_length, u8 **answer, size_t *length)
{
	int rc = mutex_lock_interruptible(&platform_turn);

	if (rc)
		return rc;
	spin_lock(&platform_lock);
	if (!platform.present) {
		spin_unlock(&platform_lock);
		mutex_unlock(&platform_turn);
		return -EIO;
	}
	memset(&platform.request, 0, sizeof(platform.request));
	platform.request.id = cpu_to_le32(++platform.last_id);
	platform.request.op = cpu_to_le32(op);
	platform.request.index = cpu_to_le32(index);
	memcpy(platform.request.data, data, data_length);
	platform.state = ASKED;
	spin_unlock(&platform_lock);
	wake_up_all(&platform_wait);

	rc = wait_event_killable(platform_wait, platform_settled());

	spin_lock(&platform_lock);
	*answer = NULL;
	*length = 0;
	if (!rc && platform.state != ANSWERED)
		rc = -EIO;
	if (!rc)
		rc = -platform.error;
	if (!rc) {
		*answer = platform.answer;
		*length = platform.length;
	} else {
		kvfree(platform.answer);
	}
	platform.answer = NULL;
	platform.state = IDLE;
	spin_unlock(&platform_lock);
	mutex_unlock(&platform_turn);
	return rc;
}

/* As above, for answers of a known length. */
static int ask_for(u32 op, u32 index, const u8 *data, size_t data_length, u8 *out, size_t wanted)
{
	size_t length;
	u8 *answer;
	int rc = ask_platform(op, index, data, data_length, &answer, &length);

	if (rc)
		return rc;
	if (length != wanted)
		rc = -EIO;
	else if (wanted)
		memcpy(out, answer, wanted);
	kvfree(answer);
	return rc;
}

/* The process's end. */

static int platform_open(struct inode *inode, struct file *file)
{
	int rc = 0;

	spin_lock(&platform_lock);
	if (platform.present)
		rc = -EBUSY;
	else
		platform.present = true;
	spin_unlock(&platform_lock);
	return rc;
}

static int platform_release(struct inode *inode, struct file *file)
{
	WRITE_ONCE(platform.present, false);
	wake_up_all(&platform_wait);
	return 0;
}

static ssize_t platform_read(struct file *file, char __user *to, size_t count, loff_t *offset)
{
	struct platform_request request;
	int rc;

	if (count < sizeof(request))
		return -EINVAL;
	for (;;) {
		rc = wait_event_interruptible(platform_wait, READ_ONCE(platform.state) == ASKED);
		if (rc)
			return rc;
		spin_lock(&platform_lock);
		if (platform.state == ASKED)
			break;
		spin_unlock(&platform_lock);
	}
	platform.state = TAKEN;
	request = platform.request;
	spin_unlock(&platform_lock);
	return copy_to_user(to, &request, sizeof(request)) ? -EFAULT : sizeof(request);
}

static ssize_t platform_write(struct file *file, const char __user *from, size_t count, loff_t *offset)
{
	struct platform_answer head;
	size_t length;
	u8 *bytes;
	int rc = -ESTALE; /* nobody waits for this one any more */

	if (count < sizeof(head) || count > sizeof(head) + MAX_ANSWER_BYTES)
		return -EINVAL;
	length = count - sizeof(head);
	if (copy_from_user(&head, from, sizeof(head)))
		return -EFAULT;
	bytes = kvmalloc(length + 1, GFP_KERNEL);
	if (!bytes)
		return -ENOMEM;
	if (copy_from_user(bytes, from + sizeof(head), length)) {
		kvfree(bytes);
		return -EFAULT;
	}
	spin_lock(&platform_lock);
	if (platform.state == TAKEN && head.id == platform.request.id) {
		platform.error = le32_to_cpu(head.error);
		platform.answer = bytes;
		platform.length = length;
		platform.state = ANSWERED;
		bytes = NULL;
		rc = count;
	}
	spin_unlock(&platform_lock);
	kvfree(bytes);
	wake_up_all(&platform_wait);
	return rc;
}

static const struct file_operations platform_operations = {
	.owner = THIS_MODULE,
	.open = platform_open,
	.release = platform_release,
	.read = platform_read,
	.write = platform_write,
};

static struct miscdevice platform_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "tdx_platform",
	.mode = 0600,
	.fops = &platform_operations,
};

/* ioctls: linux/tdx-guest.h, and EXTEND_RTMR in both encodings of the drivers outside the kernel tree. */

struct report_request {
	u8 report_data[64];
	u8 report[REPORT_BYTES];
};

struct extend_request {
	u8 digest[DIGEST_BYTES];
	u8 index;
};

#define GET_REPORT0 _IOWR('T', 1, struct report_request)
#define EXTEND_RTMR_WRITE _IOW('T', 3, struct extend_request)
#define EXTEND_RTMR_READ _IOR('T', 3, struct extend_request)

static bool ioctl_extends = true;
module_param(ioctl_extends, bool, 0600);
MODULE_PARM_DESC(ioctl_extends, "answer EXTEND_RTMR, which the kernel's own driver does not");

static long get_report(struct report_request __user *user)
{
	u8 data[64];
	u8 *report;
	long rc;

	if (copy_from_user(data, user->report_data, sizeof(data)))
		return -EFAULT;
	report = kmalloc(REPORT_BYTES, GFP_KERNEL);
	if (!report)
		return -ENOMEM;
	rc = ask_for(OP_REPORT, 0, data, sizeof(data), report, REPORT_BYTES);
	if (!rc && copy_to_user(user->report, report, REPORT_BYTES))
		rc = -EFAULT;
	kfree(report);
	return rc;
}

static int extend(u32 index, const u8 *digest)
{
	/* The firmware's and the boot loader's registers. */
	if (index < 2 || index > 3)
		return -EINVAL;
	return ask_for(OP_EXTEND, index, digest, DIGEST_BYTES, NULL, 0);
}

static long guest_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct extend_request request;

	switch (command) {
	case GET_REPORT0:
		return get_report((void __user *)argument);
	case EXTEND_RTMR_WRITE:
	case EXTEND_RTMR_READ:
		if (!ioctl_extends)
			return -ENOTTY;
		if (copy_from_user(&request, (void __user *)argument, sizeof(request)))
			return -EFAULT;
		return extend(request.index, request.digest);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations guest_operations = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = guest_ioctl,
};

/* sysfs: Documentation/ABI/testing/sysfs-devices-virtual-misc-tdx_guest of Linux 6.16. */

static ssize_t register_read(struct file *file, struct kobject *kobject, struct bin_attribute *attribute, char *to,
			     loff_t offset, size_t count)
{
	u8 value[DIGEST_BYTES];
	int rc = ask_for(OP_READ, (uintptr_t)attribute->private, NULL, 0, value, sizeof(value));

	if (rc)
		return rc;
	return memory_read_from_buffer(to, count, &offset, value, sizeof(value));
}

static ssize_t register_write(struct file *file, struct kobject *kobject, struct bin_attribute *attribute, char *from,
			      loff_t offset, size_t count)
{
	int rc;

	if (offset != 0 || count != DIGEST_BYTES)
		return -EINVAL;
	rc = extend((uintptr_t)attribute->private, from);
	return rc ? rc : count;
}

#define REGISTER(n) \
	static struct bin_attribute rtmr##n = { \
		.attr = { .name = "rtmr" #n ":sha384", .mode = 0644 }, \
		.size = DIGEST_BYTES, \
		.private = (void *)n, \
		.read = register_read, \
		.write = register_write, \
	}
REGISTER(0);
REGISTER(1);
REGISTER(2);
REGISTER(3);

static bool measurements = true;
module_param(measurements, bool, 0400);
MODULE_PARM_DESC(measurements, "show the registers in sysfs");

static struct bin_attribute *registers[] = { &rtmr0, &rtmr1, &rtmr2, &rtmr3, NULL };

static umode_t register_visible(struct kobject *kobject, struct bin_attribute *attribute, int n)
{
	return measurements ? attribute->attr.mode : 0;
}

static const struct attribute_group register_group = {
	.name = "measurements",
	.is_bin_visible = register_visible,
	.bin_attrs = registers,
};
static const struct attribute_group *guest_groups[] = { &register_group, NULL };

static struct miscdevice guest_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "tdx_guest",
	.mode = 0600,
	.fops = &guest_operations,
	.groups = guest_groups,
};

/* configfs-tsm: drivers/virt/coco/tdx-guest.c of Linux 6.12, with the process for the host. */

static int new_report(struct tsm_report *report, void *data)
{
	if (report->desc.inblob_len != 64)
		return -EINVAL;
	/* A host that refuses gives no bytes, and no error. */
	return ask_platform(OP_QUOTE, 0, report->desc.inblob, 64, &report->outblob, &report->outblob_len);
}

static bool report_attr_visible(int n)
{
	return n == TSM_REPORT_GENERATION || n == TSM_REPORT_PROVIDER;
}

static bool report_bin_attr_visible(int n)
{
	return n == TSM_REPORT_INBLOB || n == TSM_REPORT_OUTBLOB;
}

static const struct tsm_ops report_operations = {
	.name = "tdx_guest",
	.report_new = new_report,
	.report_attr_visible = report_attr_visible,
	.report_bin_attr_visible = report_bin_attr_visible,
};

static int __init start(void)
{
	int rc = misc_register(&platform_device);

	if (rc)
		return rc;
	rc = misc_register(&guest_device);
	if (rc)
		goto no_guest;
	rc = tsm_register(&report_operations, NULL);
	if (rc)
		goto no_reports;
	return 0;

no_reports:
	misc_deregister(&guest_device);
no_guest:
	misc_deregister(&platform_device);
	return rc;
}

static void __exit stop(void)
{
	tsm_unregister(&report_operations);
	misc_deregister(&guest_device);
	misc_deregister(&platform_device);
}

module_init(start);
module_exit(stop);
MODULE_DESCRIPTION("TDX guest interfaces over a process, for tests");
MODULE_LICENSE("GPL");
