import { readFileSync, statfsSync } from 'node:fs'
import { dirname } from 'node:path'
import { harmless, orUndefined } from '../errors.ts'

/**
 * Which file system a path is on, for the messages of errors and one warning. Nothing is refused by its name: NFS and
 * SMB pass flock(2) on to their server (Linux 2.6.12 and 5.5, flock(2) "NFS details", "CIFS details"), and where a file
 * system has no flock at all the call itself says so.
 */
export interface Mount {
  /** As the kernel names it: `ext4`, `nfs4`, `cifs`, `fuse.sshfs`. */
  readonly type: string
  readonly point: string
  readonly options: readonly string[]
}

/** The f_type of file systems that may keep a flock to this machine: linux/magic.h, and coreutils' stat.c for Lustre. */
const MAY_BE_LOCAL = new Set([
  0x6969, // NFS
  0x517b, // SMB
  0xff534d42, // CIFS
  0xfe534d42, // SMB2
  0x65735546, // FUSE
  0x6b414653, // AFS in the kernel
  0x7461636f, // OCFS2
  0x0bd00bd0, // Lustre
])

/** The mount options that do it: nfs(5), mount.cifs(8), the kernel's afs.rst and ocfs2.rst, mount.lustre(8). */
const LOCAL_OPTIONS: readonly (readonly [RegExp, RegExp])[] = [
  [/^nfs4?$/, /^(nolock|local_lock=(all|flock))$/],
  [/^(cifs|smb3)$/, /^nobrl$/],
  [/^afs$/, /^flock=local$/],
  [/^(lustre|ocfs2)$/, /^localflocks?$/],
]

/** FUSE keeps a flock in the local kernel unless the program behind it implements it; these reach other machines, and do not. */
const LOCAL_FUSE = /^fuse\.(sshfs|s3fs|rclone|gcsfuse)$/

/**
 * The mount that a path is on: the last one of the longest mount point above it.
 * @param table in the format of /proc/self/mountinfo, see proc(5)
 * @returns undefined where the system has no such table
 */
export function mountOf(path: string, table: string | undefined = mountTable()): Mount | undefined {
  let found: Mount | undefined
  for (const line of table?.split('\n') ?? []) {
    const mount = parseMount(line)
    if (!mount || !isBelow(path, mount.point)) continue
    if (!found || mount.point.length >= found.point.length) found = mount
  }
  return found
}

/** "nfs4 at /home": for a message. */
export function describeMount({ type, point }: Mount): string {
  return `${type} at ${point}`
}

/** Why a flock on this mount is unknown to other machines, as far as the mount tells; else undefined. */
export function localReason({ type, options }: Mount): string | undefined {
  if (LOCAL_FUSE.test(type)) return `${type} keeps it in the local kernel`
  for (const [types, names] of LOCAL_OPTIONS) {
    const option = types.test(type) && options.find((name) => names.test(name))
    if (option) return `it is mounted with ${option}`
  }
  return undefined
}

/** The mount of this path if it keeps flock(2) to this machine although others may use it too. Costs one statfs elsewhere. */
export function localNetworkMount(path: string): Mount | undefined {
  // Where there is no such folder, opening the lock file will say so. A 32-bit system sign-extends.
  const type = orUndefined(() => statfsSync(dirname(path)).type >>> 0)
  if (type === undefined || !MAY_BE_LOCAL.has(type)) return undefined
  const mount = mountOf(path)
  return mount && localReason(mount) !== undefined ? mount : undefined
}

const warned = new Set<string>()

/**
 * Says once per process and mount that a granted lock is unknown to other machines. A warning, not an error: it is all
 * right where one machine uses the data. To silence it: `node --disable-warning=PSLOCK_NETWORK_FILE_SYSTEM`.
 */
export function warnOfLocalLocks(mount: Mount): void {
  if (warned.has(mount.point)) return
  warned.add(mount.point)
  process.emitWarning(
    `flock(2) on ${harmless(describeMount(mount))} excludes the processes of this machine only, since ${localReason(mount)}. ` +
      "If other machines use the same data, mount it with shared locks, or see { backend: 'lockfile' }.",
    { type: 'PsLockWarning', code: 'PSLOCK_NETWORK_FILE_SYSTEM' },
  )
}

function mountTable(): string | undefined {
  return orUndefined(() => readFileSync('/proc/self/mountinfo', 'utf8'))
}

/** "36 35 98:0 /root /point rw,noatime shared:1 - ext3 /dev/sda1 rw,errors=continue" */
function parseMount(line: string): Mount | undefined {
  const [front, back] = line.split(' - ')
  const [, , , , point, options] = front?.split(' ') ?? []
  const [type, , superOptions] = back?.split(' ') ?? []
  if (point === undefined || type === undefined) return undefined
  return { type, point: unescaped(point), options: `${options},${superOptions}`.split(',') }
}

/** Spaces, tabs, newlines and backslashes are written in octal. */
function unescaped(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)))
}

function isBelow(path: string, point: string): boolean {
  return path === point || path.startsWith(point.endsWith('/') ? point : `${point}/`)
}
