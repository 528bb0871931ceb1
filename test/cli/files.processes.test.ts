import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { LockedNedb } from '../../adapters/nedb.ts'
import { CorruptStoreError } from '../../src/errors.ts'
import type { Finding, FindingKind } from '../../src/features/backup/format.ts'
import { PsLock } from '../../src/lock/lock.ts'
import { encodeUnit } from '../../src/store/log/units.ts'
import { seenIn, useMates } from '../fixtures/dump-crew.ts'
import { until, useFolder } from '../fixtures/folder.ts'
import { fileOf, untouched } from '../fixtures/lowdb-tools.ts'
import { idsOf, seenByVanilla } from '../fixtures/nedb-tools.ts'
import { killWhatIsLeft, pslock, withoutProgress } from './run-pslock.ts'

interface Report {
  found: boolean
  findings: Finding[]
  kept?: string[]
}

const good = (count: number) => Array.from({ length: count }, (_, n) => `{"_id":"d${n}"}\n`).join('')
const unit = encodeUnit(
  Array.from({ length: 3 }, (_, n) => `{"_id":"u${n}","pad":"${'p'.repeat(3000)}"}`),
  0,
).toString()
const mail = '{"$$indexCreated":{"fieldName":"mail","unique":true,"sparse":false}}\n'
const withMail = (...mails: unknown[]) =>
  mails.map((each, n) => `{"mail":${JSON.stringify(each)},"_id":"m${n}"}\n`).join('')

/** A damage: the file, what is found, the line, what vanilla sees after the repair, what is kept aside. */
const DAMAGES: [name: string, text: string, what: FindingKind, line: number, ids: string[], kept: string][] =
  [
    ['a torn tail', `${good(2)}{"_id":"to`, 'torn-tail', 3, ['d0', 'd1'], '{"_id":"to'],
    ['an unclosed unit', good(1) + unit.slice(0, 5000), 'unclosed-unit', 2, ['d0'], unit.slice(0, 5000)],
    ['zeros', `${good(2)}${'\0'.repeat(50)}\n`, 'torn-tail', 3, ['d0', 'd1'], `${'\0'.repeat(50)}\n`],
    ['no line feed', `${good(1)}{"_id":"x"}`, 'unterminated', 2, ['d0', 'x'], ''],
    [
      'an unreadable line',
      `${good(2)}{"_id":"b\n${good(3)}`,
      'unreadable-line',
      3,
      ['d0', 'd1', 'd2'],
      '{"_id":"b\n',
    ],
    ['no _id', `${good(2)}{"x":1}\n`, 'unreadable-line', 3, ['d0', 'd1'], '{"x":1}\n'],
    [
      'a field of NeDB’s',
      `${good(2)}{"_id":"f","$x":1}\n`,
      'unreadable-line',
      3,
      ['d0', 'd1'],
      '{"_id":"f","$x":1}\n',
    ],
    ...[
      ['an index of a field that is no string', '{"$$indexCreated":{"fieldName":8}}\n'] as const,
      ['a date that is none', '{"_id":"f","at":{"$$date":"soon"}}\n'] as const,
      ['a date that is none, with spaces', '{"_id":"f","at":{"$$date" : "soon" }}\n'] as const,
      ['a date with something beside it', '{"_id":"f","at":[{"$$date":1,"zone":"UTC"}]}\n'] as const,
      ['a record that is a date', '{"$$date":1,"_id":"f"}\n'] as const,
    ].map(([name, bad]): (typeof DAMAGES)[number] => [
      name,
      good(2) + bad,
      'unreadable-line',
      3,
      ['d0', 'd1'],
      bad,
    ]),
    [
      'a duplicate unique key',
      `${mail}${withMail('a', 'b')}{"_id":"m2","mail":"c"}\n{"mail":"a","_id":"m2"}\n`,
      'duplicate-key',
      5,
      ['m0', 'm1'],
      '{"_id":"m2","mail":"c"}\n{"mail":"a","_id":"m2"}\n',
    ],
    ['twin ids', '{"_id":1}\n{"_id":"x"}\n{"_id":"1"}\n', 'twin-id', 1, ['1', 'x'], '{"_id":1}\n'],
  ]

describe('pslock dump, restore, check, repair', () => {
  killWhatIsLeft()
  const at = useFolder()
  const start = useMates()
  const check = async (...args: string[]) => {
    const { code, stdout } = await pslock('check', '--json', ...args)
    return { code, ...(JSON.parse(stdout) as Report) }
  }

  for (const [name, text, what, line, ids, kept] of DAMAGES) {
    it(`finds ${name} and mends it; vanilla opens the result`, async () => {
      writeFileSync(at('a.db'), text)
      const found = await untouched(at('a.db'), () => check('--store', 'nedb', at('a.db')))
      assert.deepEqual(
        [found.code, found.findings.map((finding) => [finding.what, finding.line])],
        [1, [[what, line]]],
      )
      const [finding] = found.findings
      assert.ok(finding?.message && finding.mend)
      assert.equal(
        finding.byte,
        text
          .split('\n')
          .slice(0, line - 1)
          .join('\n').length + (line > 1 ? 1 : 0),
      )
      // The store itself is of the same opinion.
      const strict = new LockedNedb({ filename: at('a.db'), corruptAlertThreshold: 0 })
      if (what === 'unreadable-line') await assert.rejects(strict.loadDatabaseAsync(), CorruptStoreError)
      await strict.close()
      const repaired = await pslock('repair', '--store', 'nedb', at('a.db'))
      assert.deepEqual([repaired.code, withoutProgress(repaired.stderr)], [0, ''])
      assert.deepEqual(idsOf(await seenByVanilla(at('a.db'))), ids)
      if (kept === '') assert.ok(!existsSync(at('a.db.removed-1')))
      else assert.equal(readFileSync(at('a.db.removed-1'), 'utf8'), kept)
      assert.equal((await check('--store', 'nedb', at('a.db'))).code, 0)
    })
  }

  it('whole files are whole, and repair leaves them as they are', async () => {
    const files = {
      'a.db': `${good(2)}{"$$deleted":true,"_id":"d0"}\n{"$$later":1}\n\n${mail}${withMail('a', 'b')}`,
      'moved.db': `${mail}${withMail('a', 'b')}{"mail":"c","_id":"m0"}\n{"mail":"a","_id":"m1"}\n`,
      'dropped.db': `${mail}${withMail('a', 'a')}{"$$indexRemoved":"mail"}\n`,
      'unit.db': good(1) + unit,
      'dates.db': `{"_id":"a","at":{"$$date":"2026-01-01"}}\n{"_id":"b","at":{"$$date":null}}\n`,
      'odd.db': `${good(1)}{"_id":"u"}\u2028 \n{"$$indexCreated":{}}\n`,
      'low.json': '{\n  "posts": [\n    { "id": 1 }\n  ]\n}',
      'small.json': '{"posts":[]}',
    }
    for (const [name, text] of Object.entries(files)) {
      writeFileSync(at(name), text)
      const { code, findings } = await check(at(name))
      assert.deepEqual([name, code, findings], [name, 0, []])
      const { stdout } = await untouched(at(name), () => pslock('repair', at(name)))
      assert.match(stdout, /whole, nothing was changed/)
    }
    assert.ok(!readdirSync(at()).some((name) => name.includes('removed')))
  })

  it('several damages at once are all told, and mended together', async () => {
    const sparse = mail.replace('"sparse":false', '"sparse":true')
    writeFileSync(at('a.db'), `${sparse}${withMail('a', 'a')}garbage\n${good(4)}{"_id":"to`)
    const { findings } = await check(at('a.db'))
    assert.deepEqual(findings.map(({ what }) => what).sort(), [
      'duplicate-key',
      'torn-tail',
      'unreadable-line',
    ])
    assert.equal((await pslock('repair', at('a.db'))).code, 0)
    assert.deepEqual(idsOf(await seenByVanilla(at('a.db'))), ['d0', 'd1', 'd2', 'd3', 'm0'])
    assert.equal(readFileSync(at('a.db.removed-1'), 'utf8'), '{"mail":"a","_id":"m1"}\ngarbage\n{"_id":"to')
  })

  it('lowdb: tells where the JSON breaks; cuts off what follows a whole one; leaves the rest to people', async () => {
    writeFileSync(at('l.json'), `{"posts":[]}\n${'\0'.repeat(9)}`)
    const { findings } = await check(at('l.json'))
    assert.deepEqual(
      findings.map(({ what, line, byte }) => [what, line, byte]),
      [['trailing-bytes', 2, 13]],
    )
    assert.equal((await pslock('repair', at('l.json'))).code, 0)
    assert.deepEqual(fileOf(at('l.json')), { posts: [] })
    assert.equal(readFileSync(at('l.json.removed-1'), 'utf8'), `\n${'\0'.repeat(9)}`)
    for (const text of ['{"posts":[1,', '{\n  "posts": nothing\n}', '[1, \xff]']) {
      writeFileSync(at('l.json'), text, 'latin1')
      assert.equal((await check('--store', 'lowdb', at('l.json'))).code, 1, text)
      const { code, stderr } = await untouched(at('l.json'), () =>
        pslock('repair', at('l.json'), '--store', 'lowdb'),
      )
      assert.equal(code, 1)
      assert.match(stderr, /Restore a dump/)
    }
  })

  it('another kind of file is never mended', async () => {
    writeFileSync(at('diary'), 'Dear diary,\ntoday I wrote\n')
    writeFileSync(at('l.json'), '{\n  "posts": []\n}\n')
    assert.match((await pslock('check', at('diary'))).stderr, /--store/)
    for (const name of ['diary', 'l.json']) {
      const { code, stderr } = await untouched(at(name), () => pslock('repair', '--store', 'nedb', at(name)))
      assert.equal(code, 1)
      assert.match(stderr, /another kind of file/)
    }
  })

  it('tells of leftovers; repair puts temp files aside, and leaves evidence where it is', async () => {
    writeFileSync(at('a.db'), good(1))
    const leftovers = ['.a.db.0123abcd.pslock.tmp', '.a.db.pslock.tmp', '.a.db.tmp', 'a.db~']
    for (const name of [...leftovers, 'a.db.torn-1', 'a.db.before-restore-2', 'b.db~', 'a.db.txt']) {
      writeFileSync(at(name), name)
    }
    const { code, findings } = await check(at('a.db'))
    assert.equal(code, 1)
    const named = (kind: FindingKind) => findings.filter(({ what }) => what === kind).map(({ file }) => file)
    assert.deepEqual(named('leftover'), leftovers.map(at))
    assert.deepEqual(named('kept-aside'), [at('a.db.before-restore-2'), at('a.db.torn-1')])
    assert.equal((await pslock('repair', at('a.db'))).code, 0)
    assert.equal((await check(at('a.db'))).code, 0)
    for (const [index, name] of leftovers.entries()) {
      assert.ok(!existsSync(at(name)))
      assert.equal(readFileSync(at(`a.db.removed-${index + 1}`), 'utf8'), name)
    }
    assert.ok(existsSync(at('a.db.torn-1')) && existsSync(at('b.db~')))
  })

  for (const kind of ['nedb', 'lowdb'] as const) {
    it(`${kind}: works on a store that processes use, and on one that nobody has open`, async () => {
      const path = at('store')
      const mates = await start(kind, path, 2)
      await mates[0]?.call('step')
      await Promise.all(mates.map((mate) => mate.call('work')))
      await until('there is something', async () => (await seenInDump()) > 3)
      async function seenInDump(): Promise<number> {
        const { code, stderr } = await pslock('dump', path, at('dump'), '--overwrite')
        assert.deepEqual([code, withoutProgress(stderr)], [0, ''])
        return seenIn(kind, at('dump'))
      }
      assert.equal((await check(path)).code, 0)
      assert.equal((await pslock('repair', path)).code, 0)
      const steps = await Promise.all(mates.map((mate) => mate.call('rest')))
      assert.equal(await seenIn(kind, path), 1 + steps.reduce((a, b) => a + b))
      const dumped = await seenIn(kind, at('dump'))
      assert.equal((await pslock('restore', path, at('dump'))).code, 0)
      for (const mate of mates) assert.equal((await mate.call('tally')).n, dumped)
      await Promise.all(mates.map((mate) => mate.kill()))
      writeFileSync(path, 'Dear diary')
      assert.equal((await pslock('restore', path, at('dump'))).code, 0)
      assert.equal(await seenIn(kind, path), dumped)
    })
  }

  it('refuses what would lose something, with its own exit codes', async () => {
    writeFileSync(at('a.db'), good(3))
    writeFileSync(at('l.json'), '{\n  "posts": []\n}')
    writeFileSync(at('bad.db'), `${good(1)}garbage\n${good(2)}`)
    const outcomes: [number, RegExp, string[]][] = [
      [125, /EEXIST/, ['dump', at('a.db'), at('l.json')]],
      [125, /own file/, ['dump', at('a.db'), at('a.db')]],
      [125, /--store/, ['restore', at('l.json'), at('a.db')]],
      [1, /bad\.db cannot be restored: .*line 2/, ['restore', at('a.db'), at('bad.db')]],
      [1, /bad\.db cannot be dumped: .*line 2/, ['dump', at('bad.db'), at('x')]],
      [125, /ENOENT/, ['check', at('none')]],
      [125, /ENOENT/, ['dump', at('none'), at('x')]],
      [2, /missing required argument/, ['dump', at('a.db')]],
    ]
    for (const [code, message, args] of outcomes) {
      const outcome = await untouched(at('a.db'), () => untouched(at('l.json'), () => pslock(...args)))
      assert.deepEqual([args, outcome.code, outcome.stdout], [args, code, ''])
      assert.match(outcome.stderr, message)
    }
    assert.ok(!existsSync(at('none.lock')), 'a mistyped name must not leave a lock file')
    const held = await new PsLock(at('a.db')).acquire()
    const { code, stderr } = await pslock('repair', '--timeout', '0', at('a.db'))
    assert.equal(code, 75)
    assert.match(stderr, /exclusive lock/)
    held.release()
  })
})
