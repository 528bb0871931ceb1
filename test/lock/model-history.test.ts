import assert from 'node:assert/strict'
import { type History, type Operation, objections, readOperations } from '../fixtures/model-history.ts'

/** The judge of the model check, judged by histories of known verdict. */
describe('the checker of histories', () => {
  let ids = 0
  function operation(
    pid: number,
    mode: Operation['mode'],
    times: [asked: number, ...(number | undefined)[]],
  ) {
    const [askedMs, grantedMs, endedMs] = times
    return { pid, id: String(++ids), mode, patienceMs: 1000, askedMs, grantedMs, endedMs } as Operation
  }
  const x = (pid: number, ...times: [number, ...(number | undefined)[]]) => operation(pid, 'exclusive', times)
  const s = (pid: number, ...times: [number, ...(number | undefined)[]]) => operation(pid, 'shared', times)

  const legal: [string, Operation[], History['kills']][] = [
    ['nothing', [], []],
    ['one after the other', [x(1, 0, 1, 5), x(2, 0, 6, 9), s(3, 0, 10, 12)], []],
    ['a grant in the very moment of a release', [x(1, 0, 1, 5), x(2, 0, 5, 9)], []],
    ['shared ones together', [s(1, 0, 1, 9), s(2, 0, 2, 3), s(3, 0, 2, 12), x(4, 0, 12, 13)], []],
    ['a wait that was given up', [x(1, 0, 1, 900), x(2, 0, undefined, 500)], []],
    ['a holder that was killed', [x(1, 0, 1), x(2, 0, 8, 9)], [{ pid: 1, atMs: 7 }]],
    ['a waiter that was killed', [x(1, 0, 1, 9), x(2, 3)], [{ pid: 2, atMs: 7 }]],
  ]

  for (const [what, operations, kills] of legal) {
    it(`allows ${what}`, () => assert.deepEqual(objections({ operations, kills }), []))
  }

  const illegal: [string, Operation[], History['kills'], RegExp][] = [
    ['two exclusive holds', [x(1, 0, 1, 5), x(2, 0, 4, 9)], [], /held beside .* for 1\.000 ms/],
    ['exclusive inside exclusive', [x(1, 0, 1, 9), x(2, 0, 4, 5)], [], /held beside .* for 1\.000 ms/],
    ['shared beside exclusive', [x(1, 0, 1, 5), s(2, 0, 4, 9)], [], /shared .* beside exclusive/],
    ['exclusive beside shared', [s(1, 0, 1, 5), x(2, 0, 4, 9)], [], /exclusive .* beside shared/],
    [
      'a hold beside a long one, with a short one that came in between',
      [s(1, 0, 1, 90), s(2, 0, 2, 3), x(3, 0, 50, 60)],
      [],
      /of process 3 .* beside shared .* of process 1 /,
    ],
    [
      'two tasks of one process',
      [x(1, 0, 1, 5), x(1, 0, 4, 9)],
      [],
      /of process 1 .* beside .* of process 1 /,
    ],
    [
      'a grant before the holder was killed',
      [x(1, 0, 1), x(2, 0, 6, 9)],
      [{ pid: 1, atMs: 7 }],
      /held beside/,
    ],
    ['a wait without an answer', [x(1, 0)], [], /never answered/],
    ['a hold without an end', [x(1, 0, 1)], [], /never released/],
    ['a wait far beyond its patience', [x(1, 0, undefined, 60_000)], [], /waited 60000 ms of 1000/],
    ['a grant far beyond its patience', [x(1, 0, 60_000, 60_001)], [], /waited 60000 ms of 1000/],
    [
      'a standstill after a kill',
      [x(1, 0, 1), x(2, 2, undefined, 900), x(2, 60_000, 60_001, 60_002)],
      [{ pid: 1, atMs: 7 }],
      /nobody got in .* process 1 was killed/,
    ],
  ]

  for (const [what, operations, kills, expected] of illegal) {
    it(`objects to ${what}`, () => {
      const found = objections({ operations, kills })
      assert.equal(found.length, 1, found.join('\n'))
      assert.match(String(found[0]), expected)
    })
  }

  it('reads what a process wrote, but a last line that a kill has torn', () => {
    const text =
      '1000000 asked 1 shared 50\n2000000 granted 1 shared 50\n3000000 asked 2 exclusive 0\n4000000 rel'
    assert.deepEqual(
      readOperations(7, text).map(({ id, mode, askedMs, grantedMs, endedMs }) => [
        id,
        mode,
        askedMs,
        grantedMs,
        endedMs,
      ]),
      [
        ['1', 'shared', 1, 2, undefined],
        ['2', 'exclusive', 3, undefined, undefined],
      ],
    )
  })
})
