import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { LockedLow, LockedLowSync } from '../adapters/lowdb.ts'
import { LockedNedb } from '../adapters/nedb.ts'
import { throttle } from '../src/features/hooks/throttle.ts'
import { PsLock } from '../src/lock/lock.ts'
import { LockTree } from '../src/lock-tree/lock-tree.ts'
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

  for (const target of ['none', 'foreign']) {
    it(`a throttle of all processes follows no link, to ${target === 'none' ? 'nothing' : 'a file'}`, async () => {
      writeFileSync(at('foreign'), 'foreign')
      symlinkSync(at(target), at('db.lock.throttle'))
      const db = new LockedLow<Record<string, string>>(at('db'), {})
      db.use(throttle({ writesPerSecond: 100, per: 'store' }))
      await assert.rejects(() => db.update(() => {}), { code: 'PSLOCK_UNSUPPORTED' })
      assert.ok(!existsSync(at('none')))
      assert.equal(readFileSync(at('foreign'), 'utf8'), 'foreign')
      await db.close()
    })
  }
})

/** What stands in the place of a file: to open one may block, and to read one may never end. */
const KINDS: Record<string, (path: string) => void> = {
  FIFO: (path) => {
    execFileSync('mkfifo', [path])
    chmodSync(path, 0o444)
  },
  socket: (path) => {
    const first = `${dirname(path)}/socket`
    const make = `require('net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`
    if (!existsSync(first)) spawnSync(process.execPath, ['-e', make, first])
    linkSync(first, path)
    assert.ok(lstatSync(path).isSocket())
  },
  'endless device': (path) => {
    execFileSync('mknod', ['-m', '666', path, 'c', '1', '5'])
  },
  'link to an endless device': (path) => {
    symlinkSync('/dev/zero', path)
  },
  folder: (path) => {
    mkdirSync(path)
  },
}

const NEDB = 'const db = new LockedNedb({ filename: file, autoload: true, onload() {}, timeoutMs: 300 })\n'
const LOW = 'const db = new LockedLow(file, { n: 1 }, { timeoutMs: 300 })\n'
const JOURNAL = 'const db = new LockedLow(file, { n: 1 }, { timeoutMs: 300, journal: true })\n'
const SYNC = 'const db = new LockedLowSync(file, { n: 1 }, { timeoutMs: 300 })\n'
const LOCK = 'const lock = new PsLock(file, { timeoutMs: 300 })\n'
const TREE = 'const tree = new LockTree(file, { timeoutMs: 300 })\n'

const READS_AND_WRITES: readonly string[] = [
  `${LOW} await db.read()`,
  `${LOW} await db.update((data) => void data.n++)`,
  `${LOW} await db.dump(file + '.copy')`,
  `${JOURNAL} await db.read()`,
  `${JOURNAL} await db.update((data) => void data.n++)`,
  `${SYNC} db.read()`,
  `${SYNC} db.update((data) => void data.n++)`,
]

type Uses = readonly (readonly [planted: string, scripts: readonly string[]])[]

/** What is done where something stands in the place of the file with this ending. */
const USES: Uses = [
  [
    '',
    [
      `${NEDB} await db.findAsync({})`,
      `${NEDB} await db.insertAsync({})`,
      `${NEDB} await db.compactDatafileAsync()`,
      `${NEDB} await db.dump(file + '.copy')`,
      ...READS_AND_WRITES,
    ],
  ],
  [
    '.lock',
    [
      `${LOCK} await lock.exclusive(() => {})`,
      `${LOCK} lock.exclusiveSync(() => {})`,
      `${NEDB} await db.insertAsync({})`,
      `${LOW} await db.update((data) => void data.n++)`,
      `${SYNC} db.update((data) => void data.n++)`,
    ],
  ],
  ['.lock.turn', [`${LOCK} await lock.exclusive(() => {})`]],
  [
    '.lock.throttle',
    [`${NEDB} db.use(throttle({ writesPerSecond: 100, per: 'store' }))\n await db.insertAsync({})`],
  ],
  ['.journal', READS_AND_WRITES],
  [
    '.schema',
    [
      `${NEDB} await db.table('notes').create({ text: 'string' })`,
      `${LOW} await db.table('notes').create({ text: 'string' })`,
    ],
  ],
  ['.dump', [`${NEDB} await db.restore(file + '.dump')`, `${LOW} await db.restore(file + '.dump')`]],
  ...(process.platform === 'linux'
    ? [['.locktree', [`${TREE} await tree.exclusive('a', () => {})`]] as const]
    : []),
]

/** They follow no link, and see a folder as the lock of the other backend. */
const LOOKS: Uses = [
  ['.lock', [`${LOCK} lock.holders()`]],
  ...(process.platform === 'linux' ? [['.locktree', [`${TREE} tree.holders()`]] as const] : []),
]

describe('what is no file in the place of a file', () => {
  const at = useFolder()

  /** In a child: what blocks its thread would block the tests for ever. @returns the codes of what the scripts failed with */
  function codesOf(scripts: readonly string[]): unknown[] {
    const words = [
      ...LOADER,
      '--input-type=module',
      '-e',
      `import { writeSync } from 'node:fs'
      import { LockTree, PsLock, throttle } from ${JSON.stringify(codeUrl('src/index'))}
      import { LockedLow, LockedLowSync } from ${JSON.stringify(codeUrl('adapters/lowdb'))}
      import { LockedNedb } from ${JSON.stringify(codeUrl('adapters/nedb'))}
      ${scripts
        .map(
          (script) => `
            try { ${script}
              writeSync(1, '"done"\\n') } catch (error) { writeSync(1, JSON.stringify(error.code ?? String(error)) + '\\n') }`,
        )
        .join('')}
      process.exit()`,
    ]
    const user = isRoot ? { uid: NOBODY, gid: NOBODY } : {}
    const { stdout, stderr, error } = spawnSync(process.execPath, words, {
      ...user,
      encoding: 'utf8',
      timeout: 30_000,
    })
    const codes = stdout.split('\n').slice(0, -1)
    assert.equal(error, undefined, `it hangs: ${scripts[codes.length]}`)
    assert.equal(codes.length, scripts.length, stderr)
    return codes.map((code) => JSON.parse(code))
  }

  it('a sparse file of 3 GB in the place of the lock file of a LockTree is refused with a typed error', async function () {
    if (process.platform !== 'linux') this.skip()
    writeFileSync(at('db.locktree'), '')
    truncateSync(at('db.locktree'), 3 * 2 ** 30)
    const tree = new LockTree(at('db'))
    await assert.rejects(() => tree.exclusive('a', () => {}), { code: 'PSLOCK_UNSUPPORTED' })
    assert.throws(() => tree.holders(), { code: 'PSLOCK_UNSUPPORTED' })
    await tree.close()
  })

  for (const name of ['.journal', '.schema']) {
    it(`a sparse file of 3 GB in the place of a ${name} is refused with a typed error`, async () => {
      writeFileSync(at('db'), '{"n":1}')
      writeFileSync(at(`db${name}`), '')
      truncateSync(at(`db${name}`), 3 * 2 ** 30)
      const db = new LockedLow(at('db'), { n: 1 })
      const use = () => (name === '.schema' ? db.table('notes').create({ text: 'string' }) : db.read())
      await assert.rejects(use, { code: 'PSLOCK_STORE_IO', path: at(`db${name}`) })
      await db.close()
      if (name === '.schema') return
      const sync = new LockedLowSync(at('db'), { n: 1 })
      assert.throws(() => sync.read(), { code: 'PSLOCK_STORE_IO', path: at(`db${name}`) })
      const { code, stderr } = await pslock('check', '--store', 'lowdb', at('db'))
      assert.deepEqual([code, /db\.journal: it has 3072 MB/.test(stderr)], [125, true])
    })
  }

  for (const [kind, plant] of Object.entries(KINDS)) {
    it(`${kind}: a typed error at once, or it is passed by`, async function () {
      if (kind === 'endless device' && !isRoot) this.skip()
      chmodSync(at(), 0o777)
      const scripts: string[] = []
      const expected: string[] = []
      const followsLinks = kind.startsWith('link')
      const looks = followsLinks || kind === 'folder' ? [] : LOOKS
      await using holder = new PsLock(at('line'))
      // Waiting is what makes and opens the file of the line.
      const held = await holder.acquire()
      for (const [planted, uses] of [...USES, ...looks]) {
        for (const use of uses) {
          const file = planted === '.lock.turn' ? at('line') : at(`db-${scripts.length}`)
          if (planted !== '' && planted !== '.lock.turn')
            writeFileSync(file, use.startsWith(NEDB) ? '' : '{"n":1}', { mode: 0o666 })
          if (isRoot && existsSync(file)) chownSync(file, NOBODY, NOBODY)
          plant(`${file}${planted}`)
          scripts.push(`const file = ${JSON.stringify(file)}\n${use}`)
          expected.push(planted)
        }
      }
      const codes = codesOf(scripts)
      held.release()
      for (const [i, code] of codes.entries()) {
        const right =
          expected[i] === '.lock.turn' ? /^PSLOCK_TIMEOUT$/ : /^PSLOCK_(UNSUPPORTED|CORRUPT|STORE_IO|IO)$/
        assert.match(String(code), right, scripts[i])
      }
    })
  }

  it('a FIFO: the command line', async () => {
    const plant = KINDS.FIFO!
    plant(at('db.lock'))
    const status = await pslock('status', at('db'))
    assert.equal(status.code, 125)
    assert.match(status.stderr, /not a regular file/)
    writeFileSync(at('other'), '{}')
    for (const name of ['other.journal', 'other.schema']) plant(at(name))
    const runs = [
      ['check', at('other')],
      ['dump', at('other'), at('copy')],
      ['repair', at('other')],
      ['check', '--store', 'lowdb', at('db.lock')],
      ['restore', at('other'), at('db.lock')],
    ].map(async (words) => {
      const { code, signal } = await pslock(...words)
      assert.equal(signal, null)
      assert.notEqual(code, 0, words.join(' '))
    })
    await Promise.all(runs)
  })
})
