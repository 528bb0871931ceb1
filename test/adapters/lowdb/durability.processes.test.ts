import assert from 'node:assert/strict'
import { readFileSync, realpathSync } from 'node:fs'
import { useFolder } from '../../fixtures/folder.ts'
import { fileOf, has, runScript } from '../../fixtures/lowdb-tools.ts'

/** What reaches the disk before a promise resolves, as the kernel saw it. */
describe('lowdb durability', () => {
  const at = useFolder()

  before(function () {
    if (has('strace', '-qq', '-o', '/dev/null', 'true')) return
    console.log('        skipped: no strace')
    this.skip()
  })

  /** The calls that matter, in the order in which they ended: `sync <file>`, `rename`, and the program's marks. */
  function calls(durability: string, kind: string): string[] {
    const traced = 'fsync,fdatasync,rename,renameat,renameat2,access,faccessat,faccessat2'
    const tracer = ['strace', '-f', '-y', '-qq', '-o', at('trace'), '-e', `trace=${traced}`]
    const { code, err } = runScript('lowdb-script', ['traced', at('db.json'), durability, kind], tracer)
    assert.equal(code, 0, err)
    assert.deepEqual(fileOf(at('db.json')), { n: 2 })
    const folder = realpathSync(at())
    const begun = new Map<string, string>()
    const ended: string[] = []
    for (const line of readFileSync(at('trace'), 'utf8').split('\n')) {
      const [, pid = '', text = ''] = /^(\d+) +(.*)$/.exec(line) ?? []
      if (text.endsWith('<unfinished ...>')) {
        begun.set(pid, text)
        continue
      }
      const call = text.startsWith('<... ') ? `${begun.get(pid)} ${text}` : text
      const synced = /^f(?:data)?sync\(\d+<([^>]*)>/.exec(call)?.[1]
      const marked = /MARK-(\w+)/.exec(call)?.[1]
      if (synced === folder) ended.push('sync folder')
      else if (synced?.startsWith(`${folder}/`))
        ended.push(`sync ${synced.endsWith('tmp') ? 'temp' : synced.slice(folder.length + 1)}`)
      else if (call.startsWith('rename') && call.includes('db.json')) ended.push('rename')
      else if (marked) ended.push(marked)
    }
    return ended.slice(ended.indexOf('begin') + 1)
  }

  for (const kind of ['async', 'sync']) {
    it(`'disk' (${kind}): content synced, then renamed, then the name synced, all before it is acknowledged`, () => {
      const one = ['sync temp', 'rename', 'sync folder']
      assert.deepEqual(calls('disk', kind), [...one, 'update', ...one, 'write'])
    })

    it(`'process' (${kind}): the content is synced before the rename, too`, () => {
      const one = ['sync temp', 'rename']
      assert.deepEqual(calls('process', kind), [...one, 'update', ...one, 'write'])
    })
  }
})
