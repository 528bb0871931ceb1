import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  linkSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { LockedLow, LockedLowSync } from '../adapters/lowdb.ts'
import { LockedNedb } from '../adapters/nedb.ts'
import { throttle } from '../src/db/hooks/throttle.ts'
import { PsLock } from '../src/lock/ps-lock.ts'
import { LockTree } from '../src/lock/tree/lock-tree.ts'
import { pslock } from './cli/run-pslock.ts'
import { codeUrl, LOADER } from './fixtures/code.ts'
import { useFolder } from './fixtures/folder.ts'

const NOBODY = 65534
const SECRET = 'top secret'
const isRoot = process.getuid?.() === 0

/** Each writes a secret into `db` in this folder, by a file that takes its place. */
const WRITERS: readonly [name: string, temp: string, write: (file: string) => unknown][] = [
  [
    'NeDB that compacts',
    'db~',
    async (filename) => {
      const db = new LockedNedb({ filename, autoload: true })
      await db.insertAsync({ _id: SECRET })
      await db.compactDatafileAsync()
      await db.close()
    },
  ],
  [
    'lowdb',
    '.db.pslock.tmp',
    async (file) => {
      const db = new LockedLow<Record<string, string>>(file, {})
      await db.update((data) => {
        data.secret = SECRET
      })
      await db.close()
    },
  ],
  [
    'LowSync',
    '.db.pslock.tmp',
    (file) => {
      const db = new LockedLowSync<Record<string, string>>(file, {})
      db.update((data) => {
        data.secret = SECRET
      })
    },
  ],
  [
    'lowdb with a journal that is put into the file',
    '.db.pslock.tmp',
    async (file) => {
      const db = new LockedLow<Record<string, string>>(file, {}, { journal: true })
      await db.update((data) => {
        data.secret = SECRET
      })
      await db.checkpoint()
      await db.close()
    },
  ],
  [
    'a table, its schema',
    '.db.schema.pslock.tmp',
    async (file) => {
      const db = new LockedNedb({ filename: file, autoload: true })
      await db.table('notes').create({ text: 'string' })
      await db.table('notes').insert({ text: SECRET })
      await db.close()
    },
  ],
]

/** What somebody may have put where a temp file goes. @returns what must be as it was */
const PLANTED: Record<string, (temp: string, foreign: string) => void> = {
  "another user's file": (temp) => {
    writeFileSync(temp, 'planted')
    if (isRoot) chownSync(temp, NOBODY, NOBODY)
    chmodSync(temp, 0o666)
  },
  'a hard link': (temp, foreign) => {
    linkSync(foreign, temp)
  },
  'a symbolic link': (temp, foreign) => {
    symlinkSync(foreign, temp)
  },
  'a symbolic link to nothing': (temp, foreign) => {
    symlinkSync(`${foreign}-none`, temp)
  },
  'a FIFO': (temp) => {
    execFileSync('mkfifo', [temp])
  },
}

describe('planted files', () => {
  const at = useFolder()

  function temps(): string[] {
    return readdirSync(at()).filter((name) => /tmp$|~$/.test(name))
  }

  for (const [name, temp, write] of WRITERS) {
    for (const [what, plant] of Object.entries(PLANTED)) {
      it(`${what} in the place of a temp file: ${name}`, async function () {
        if (what === "another user's file" && !isRoot) this.skip()
        writeFileSync(at('foreign'), 'foreign')
        plant(at(temp), at('foreign'))
        const before = lstatSync(at(temp), { bigint: true })
        await write(at('db'))
        assert.match(readFileSync(at('db'), 'utf8'), new RegExp(SECRET))
        const found = lstatSync(at('db'))
        assert.ok(found.isFile() && found.nlink === 1)
        assert.equal(found.uid, process.getuid?.())
        assert.equal(readFileSync(at('foreign'), 'utf8'), 'foreign')
        assert.ok(!existsSync(at('foreign-none')))
        // What others own is neither written to nor removed.
        const after = lstatSync(at(temp), { bigint: true })
        assert.deepEqual([after.ino, after.size, after.mtimeNs], [before.ino, before.size, before.mtimeNs])
        assert.deepEqual(temps(), [temp])
      })
    }

    it(`what a crash has left is removed, and nobody reads on in it: ${name}`, async () => {
      writeFileSync(at(temp), 'left behind', { mode: 0o644 })
      const reader = openSync(at(temp), 'r')
      await write(at('db'))
      assert.match(readFileSync(at('db'), 'utf8'), new RegExp(SECRET))
      assert.deepEqual(temps(), [])
      assert.equal(readFileSync(reader, 'utf8'), 'left behind')
      closeSync(reader)
    })
  }

  it('temp files of crashes beside a planted one do not add up', () => {
    symlinkSync('/nowhere/at/all', at('.db.pslock.tmp'))
    const old = new Date(Date.now() - 3_600_000)
    for (let n = 10; n < 15; n++) {
      writeFileSync(at(`.db.000000${n}.pslock.tmp`), 'left')
      utimesSync(at(`.db.000000${n}.pslock.tmp`), old, old)
    }
    const db = new LockedLowSync<Record<string, string>>(at('db'), {})
    db.update((data) => {
      data.a = 'b'
    })
    assert.deepEqual(temps(), ['.db.pslock.tmp'])
  })

  it("in a sticky folder: one user's secret does not get into another's file", function () {
    if (!isRoot) this.skip()
    chmodSync(at(), 0o1777)
    writeFileSync(at('.db.pslock.tmp'), '')
    chmodSync(at('.db.pslock.tmp'), 0o666)
    writeFileSync(at('db'), '{}', { mode: 0o600 })
    chownSync(at('db'), NOBODY, NOBODY)
    const script = `
      import { LockedLow } from ${JSON.stringify(codeUrl('adapters/lowdb'))}
      const db = new LockedLow(${JSON.stringify(at('db'))}, {})
      await db.update((data) => { data.secret = ${JSON.stringify(SECRET)} })
      await db.close()`
    const words = [...LOADER, '--input-type=module', '-e', script]
    const user = { uid: NOBODY, gid: NOBODY, encoding: 'utf8' } as const
    const { status, stderr } = spawnSync(process.execPath, words, user)
    if (/EACCES.*node_modules|Cannot find package/.test(stderr)) this.skip()
    assert.equal(status, 0, stderr)
    assert.match(readFileSync(at('db'), 'utf8'), new RegExp(SECRET))
    const { uid, mode } = statSync(at('db'))
    assert.deepEqual([uid, mode & 0o777], [NOBODY, 0o600])
    assert.equal(readFileSync(at('.db.pslock.tmp'), 'utf8'), '')
  })

  it('a dump follows no link, with and without overwrite', async () => {
    writeFileSync(at('foreign'), 'foreign')
    symlinkSync(at('foreign'), at('link'))
    symlinkSync(at('none'), at('dangling'))
    const db = new LockedLow<Record<string, string>>(at('db'), { a: 'b' })
    await db.write()
    for (const overwrite of [true, false]) {
      await assert.rejects(() => db.dump(at('link'), { overwrite }), { code: 'PSLOCK_STORE_IO' })
      await assert.rejects(() => db.dump(at('dangling'), { overwrite }), { code: 'PSLOCK_STORE_IO' })
      await assert.rejects(() => db.dump(at(), { overwrite }), /folder|own file/)
    }
    assert.equal(readFileSync(at('foreign'), 'utf8'), 'foreign')
    assert.ok(!existsSync(at('none')))
    assert.ok(lstatSync(at('link')).isSymbolicLink())
    await db.close()
  })

  it('a throttle of all processes follows no link', async () => {
    symlinkSync(at('none'), at('db.lock.throttle'))
    const db = new LockedLow<Record<string, string>>(at('db'), {})
    db.use(throttle({ writesPerSecond: 100, per: 'store' }))
    await assert.rejects(() => db.update(() => {}), { code: 'PSLOCK_UNSUPPORTED' })
    assert.ok(!existsSync(at('none')))
    await db.close()
  })
})

describe('a FIFO, a socket, a device in the place of a file', () => {
  const at = useFolder()

  /** In a child: what blocks its thread would block the tests for ever. */
  function ends(script: string): string {
    const words = [...LOADER, '--input-type=module', '-e', script]
    const user = isRoot ? { uid: NOBODY, gid: NOBODY } : {}
    const { stdout, stderr, error } = spawnSync(process.execPath, words, {
      ...user,
      encoding: 'utf8',
      timeout: 20_000,
    })
    assert.equal(error, undefined, `it hangs: ${script}`)
    return stdout + stderr
  }

  function plant(kind: string, name: string): void {
    if (kind === 'socket') {
      const make = `require('net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`
      spawnSync(process.execPath, ['-e', make, at(name)])
      assert.ok(lstatSync(at(name)).isSocket())
    } else {
      execFileSync('mkfifo', [at(name)])
      chmodSync(at(name), 0o444)
    }
  }

  const USES: readonly [name: string, planted: string, script: string, expected: RegExp][] = [
    ['PsLock', 'db.lock', 'await new PsLock(file).exclusive(() => {})', /PSLOCK_UNSUPPORTED/],
    ['PsLock, blocking', 'db.lock', 'new PsLock(file).exclusiveSync(() => {})', /PSLOCK_UNSUPPORTED/],
    ['holders()', 'db.lock', 'new PsLock(file).holders()', /PSLOCK_UNSUPPORTED/],
    [
      'the line of waiters',
      'db.lock.turn',
      'await new PsLock(file).exclusive(() => {}, { timeoutMs: 300 })',
      /PSLOCK_TIMEOUT/,
    ],
    ['LockTree', 'db.locktree', 'await new LockTree(file).exclusive("a", () => {})', /PSLOCK_UNSUPPORTED/],
    ['holders() of a LockTree', 'db.locktree', 'new LockTree(file).holders()', /PSLOCK_UNSUPPORTED/],
  ]

  it('a sparse file of 3 GB in the place of the lock file of a LockTree is refused with a typed error', async function () {
    if (process.platform !== 'linux') this.skip()
    writeFileSync(at('db.locktree'), '')
    truncateSync(at('db.locktree'), 3 * 2 ** 30)
    const tree = new LockTree(at('db'))
    await assert.rejects(() => tree.exclusive('a', () => {}), { code: 'PSLOCK_UNSUPPORTED' })
    assert.throws(() => tree.holders(), { code: 'PSLOCK_UNSUPPORTED' })
    await tree.close()
  })

  for (const kind of ['FIFO', 'socket']) {
    for (const [name, planted, script, expected] of USES) {
      it(`${kind}: ${name}`, async function () {
        if (name.includes('LockTree') && process.platform !== 'linux') this.skip()
        chmodSync(at(), 0o777)
        plant(kind, planted)
        // Waiting is what makes and opens the file of the line.
        await using lock = new PsLock(at('db'))
        const held = planted.endsWith('.turn') ? await lock.acquire() : undefined
        const said = ends(`
          import { PsLock, LockTree } from ${JSON.stringify(codeUrl('src/index'))}
          const file = ${JSON.stringify(at('db'))}
          try { ${script}; console.log('DONE') } catch (error) { console.log(error.code ?? error) }`)
        held?.release()
        assert.match(said, expected)
      })
    }

    it(`${kind}: the command line, and stores`, async () => {
      plant(kind, 'db.lock')
      const status = await pslock('status', at('db'))
      assert.equal(status.code, 125)
      assert.match(status.stderr, /not a regular file/)
      writeFileSync(at('other'), '{}')
      for (const name of ['other.journal', 'other.schema']) plant(kind, name)
      for (const words of [
        ['check', at('other')],
        ['dump', at('other'), at('copy')],
        ['repair', at('other')],
        ['check', '--store', 'lowdb', at('db.lock')],
        ['restore', at('other'), at('db.lock')],
      ]) {
        const { code, signal } = await pslock(...words)
        assert.equal(signal, null)
        assert.notEqual(code, 0, words.join(' '))
      }
    })
  }
})
