import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { describeMount, localNetworkMount, localReason, type Mount, mountOf } from '../../src/os/mounts.ts'
import { useCrew } from '../fixtures/crew.ts'
import { useFolder } from '../fixtures/folder.ts'

/** As /proc/self/mountinfo shows them; the lines of network mounts are from real machines. */
const TABLE = String.raw`22 28 0:21 / /proc rw,nosuid,nodev,noexec,relatime shared:13 - proc proc rw
28 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,discard,errors=remount-ro
61 28 0:50 / /home rw,relatime shared:30 - nfs4 server:/home rw,vers=4.2,rsize=1048576,hard,proto=tcp,sec=sys,clientaddr=10.0.0.5,local_lock=none,addr=10.0.0.2
62 28 0:51 / /scratch rw,relatime shared:31 - nfs server:/scratch rw,vers=3,hard,nolock,proto=tcp,local_lock=all,addr=10.0.0.2
63 28 0:52 / /mnt/my\040share rw,relatime - cifs //server/share rw,vers=3.1.1,cache=strict,nobrl,noperm
64 28 0:53 / /mnt/ssh rw,nosuid,nodev,relatime shared:32 - fuse.sshfs user@host:/ rw,user_id=0,group_id=0
65 61 0:54 / /home/ada/local rw,relatime - xfs /dev/vdb rw
66 28 0:55 / /home rw,relatime - nfs4 other:/home rw,local_lock=flock
broken line`

const mount = (type: string, ...options: string[]): Mount => ({ type, point: '/m', options })

describe('file system', () => {
  const crew = useCrew()
  const at = useFolder()

  it('is that of the longest mount point above the path, and of the last mount there', () => {
    const typesAt: [string, string, string][] = [
      ['/etc/data.lock', 'ext4', '/'],
      ['/home/ada/data.lock', 'nfs4', '/home'],
      ['/homestead/data.lock', 'ext4', '/'],
      ['/home/ada/local/data.lock', 'xfs', '/home/ada/local'],
      ['/scratch/x', 'nfs', '/scratch'],
      ['/mnt/my share/x', 'cifs', '/mnt/my share'],
      ['/mnt/ssh', 'fuse.sshfs', '/mnt/ssh'],
    ]
    for (const [path, type, point] of typesAt) {
      const found = mountOf(path, TABLE)
      assert.deepEqual([found?.type, found?.point], [type, point], path)
    }
    assert.ok(mountOf('/home/x', TABLE)?.options.includes('local_lock=flock'), 'the upper of two mounts')
    assert.equal(describeMount(mountOf('/scratch/x', TABLE)!), 'nfs at /scratch')
    assert.equal(mountOf('/x', ''), undefined)
  })

  it('a flock is local where the mount says so, and is trusted to reach the server elsewhere', () => {
    const local = [
      mount('nfs', 'rw', 'nolock'),
      mount('nfs4', 'local_lock=flock'),
      mount('nfs', 'local_lock=all'),
      mount('cifs', 'nobrl'),
      mount('smb3', 'rw', 'nobrl'),
      mount('afs', 'flock=local'),
      mount('lustre', 'localflock'),
      mount('fuse.sshfs', 'rw'),
    ]
    for (const found of local)
      assert.match(localReason(found) ?? '', /mounted with|kernel/, JSON.stringify(found))
    assert.equal(localReason(local[0]!), 'it is mounted with nolock')
    const shared = [
      mount('nfs4', 'rw', 'local_lock=none'),
      mount('nfs', 'local_lock=posix'),
      mount('cifs', 'rw'),
      mount('ext4', 'nolock', 'nobrl'),
      mount('fuse.gocryptfs', 'rw'),
      mount('lustre', 'flock'),
    ]
    for (const found of shared) assert.equal(localReason(found), undefined, JSON.stringify(found))
  })

  it('here is a local one, of which nothing is said', function () {
    if (process.platform !== 'linux') this.skip()
    assert.ok(mountOf(at('data.lock'))?.point.startsWith('/'))
    assert.equal(localNetworkMount(at('data.lock')), undefined)
    assert.equal(localNetworkMount(at('missing/data.lock')), undefined)
  })

  it('a real mount is found by its own name', function () {
    mkdirSync(at('m n'))
    if (spawnSync('mount', ['-t', 'tmpfs', 'none', at('m n')]).status !== 0) this.skip()
    try {
      assert.equal(describeMount(mountOf(at('m n/data.lock'))!), `tmpfs at ${at('m n')}`)
    } finally {
      execFileSync('umount', [at('m n')])
    }
  })

  it('one warning a process and mount, with a code by which Node can silence it', async () => {
    const warned = async (...flags: string[]) => {
      const mate = await crew.process({
        stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
        execArgv: [...process.execArgv, ...flags],
      })
      let stderr = ''
      mate.child.stderr?.setEncoding('utf8').on('data', (text) => {
        stderr += text
      })
      const closed = new Promise((resolve) => mate.child.stderr?.once('close', resolve))
      await mate.call('warn', mount('nfs', 'nolock'), 2)
      mate.child.disconnect()
      await closed
      return stderr.match(/PSLOCK_NETWORK_FILE_SYSTEM.*$/gm) ?? []
    }
    const lines = await warned()
    assert.equal(lines.length, 1)
    assert.match(lines[0] ?? '', /nfs at \/m .*this machine only.*nolock/)
    assert.deepEqual(await warned('--disable-warning=PSLOCK_NETWORK_FILE_SYSTEM'), [])
  })
})
