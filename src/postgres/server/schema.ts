/** The class of the advisory locks of pslock, whose second number is that of a store or a lock: the letters `pslk`. */
export const STORE_LOCKS: number = 0x70736c6b
export const NAMED_LOCKS: number = 0x70736c6c

/** Processes that are at work have looked since then. */
const KEPT_COMMITS = 1000

/**
 * Makes everything that was committed before it survive a crash: its own commit waits for the disk. It answers in which incarnation
 * of the server that was.
 */
export const FLUSH: { readonly name: string; readonly text: string } = {
  name: 'pslock.flush',
  text: `select (select id from pslock.incarnation)::text, set_config('synchronous_commit', 'on', true),
    pg_logical_emit_message(true, 'pslock', '')`,
}

/** Ends what the server does for a connection that is lost. No row: it has ended. */
export const TERMINATE: string =
  'select pg_terminate_backend(pid) from pg_stat_activity where pid = $1 and backend_start::text = $2'

/**
 * The tables of pslock in a database, and the functions that change them. All of a store's records are rows of `doc`, each with
 * the number of the commit that wrote it last: what is newer than what a process knows is read by that number. A record that
 * is removed stays as a row without content (`gone`) until everybody can be expected to know.
 *
 * A line is text and not `jsonb`, which refuses \u0000 and lone surrogates, sorts the members and writes numbers anew.
 */
const TABLES = `
create schema if not exists pslock;
create table if not exists pslock.store (
  id int generated always as identity primary key,
  name text unique not null,
  kind text not null,
  seq bigint not null default 0,
  fence bigint not null default 0,
  floor bigint not null default 0
) with (fillfactor = 10);
comment on column pslock.store.seq is 'number of the last commit';
comment on column pslock.store.fence is 'last commit that changed an index or replaced everything: who knows less looks first';
comment on column pslock.store.floor is 'removed records and units up to here are purged: who knows less reads everything';
create table if not exists pslock.doc (
  store int not null,
  key text collate "C" not null,
  seq bigint not null,
  gone boolean not null default false,
  line text not null,
  primary key (store, key)
);
create index if not exists doc_seq on pslock.doc (store, seq);
create table if not exists pslock.unit (store int, seq bigint, changes text not null, primary key (store, seq));
create table if not exists pslock.image (store int primary key, seq bigint not null, text text not null);
comment on table pslock.unit is 'what was changed of a text, by commit; each is JSON';
comment on table pslock.image is 'a text as it was after the commit of this number';
create table if not exists pslock.client (
  id bigint primary key,
  number bigint not null,
  at timestamptz not null default now()
) with (fillfactor = 10);
create unlogged table if not exists pslock.incarnation (one boolean primary key default true check (one), id uuid not null);
create unlogged table if not exists pslock.pace (store int primary key, next float8 not null default 0) with (fillfactor = 10);
create table if not exists pslock.lock (id int generated always as identity primary key, name text unique not null);
create sequence if not exists pslock.token;
create table if not exists pslock.version (one boolean primary key default true check (one), number int not null);
insert into pslock.version (number) values (1) on conflict do nothing;`

/**
 * One commit of a store, in one round trip. Volatile and in PL/pgSQL, so that each of its statements sees what was committed
 * before the lock was granted.
 *
 * What it answers: 0 done; 1 a record that was read has changed (\`p_reads\` null: anything has); 2 the caller must look first:
 * an index has changed, everything was replaced, or the server has lost its last commits in a crash; 3 there is no such store.
 */
const PUT = `
create or replace function pslock.put(
  p_store int, p_incarnation uuid, p_known bigint, p_reads text[], p_versions bigint[],
  p_keys text[], p_gone boolean[], p_lines text[], p_fences boolean,
  p_client bigint, p_number bigint, out o_status int, out o_seq bigint
) language plpgsql volatile as $put$
#variable_conflict use_column
declare
  v_fence bigint;
  v_is_same boolean;
  v_now bigint;
begin
  perform pg_advisory_xact_lock(${STORE_LOCKS}, p_store);
  select s.seq, s.fence, i.id = p_incarnation into o_seq, v_fence, v_is_same
    from pslock.store s left join pslock.incarnation i on true where s.id = p_store;
  if o_seq is null then
    o_status := 3;
    return;
  end if;
  if p_known < v_fence or v_is_same is not true then
    o_status := 2;
    return;
  end if;
  if p_reads is null then
    if o_seq <> p_known then
      o_status := 1;
      return;
    end if;
  else
    for i in 1 .. cardinality(p_reads) loop
      select seq into v_now from pslock.doc where store = p_store and key = p_reads[i] and not gone;
      if coalesce(v_now, 0) <> p_versions[i] then
        o_status := 1;
        return;
      end if;
    end loop;
  end if;
  o_status := 0;
  if cardinality(p_keys) = 0 then
    return;
  end if;
  o_seq := o_seq + 1;
  update pslock.store set seq = o_seq, fence = case when p_fences then o_seq else fence end where id = p_store;
  if cardinality(p_keys) = 1 then
    insert into pslock.doc (store, key, seq, gone, line) values (p_store, p_keys[1], o_seq, p_gone[1], p_lines[1])
      on conflict (store, key) do update set seq = excluded.seq, gone = excluded.gone, line = excluded.line;
  else
    insert into pslock.doc (store, key, seq, gone, line)
      select p_store, u.key, o_seq, u.gone, u.line from unnest(p_keys, p_gone, p_lines) u(key, gone, line)
      on conflict (store, key) do update set seq = excluded.seq, gone = excluded.gone, line = excluded.line;
  end if;
  update pslock.client set number = p_number, at = now() where id = p_client;
  if not found then
    insert into pslock.client (id, number) values (p_client, p_number);
  end if;
end $put$;`

/**
 * `clear` empties a store, but for what is kept beside its records: whoever knew it reads everything anew. `purge` forgets
 * which records were removed, but for the last commits: whoever has not heard of them reads everything anew. Both in a transaction that holds the lock.
 */
const REPLACE = `
create or replace function pslock.clear(p_store int) returns bigint language sql volatile as $clear$
  delete from pslock.doc where store = p_store and not starts_with(key, '$$note ');
  update pslock.store set seq = seq + 1, fence = seq + 1, floor = seq + 1 where id = p_store returning seq;
$clear$;
create or replace function pslock.purge(p_store int) returns void language plpgsql volatile as $purge$
declare
  v_floor bigint;
begin
  update pslock.store set floor = greatest(floor, seq - ${KEPT_COMMITS}) where id = p_store returning floor into v_floor;
  delete from pslock.doc where store = p_store and gone and seq <= v_floor;
end $purge$;`

/**
 * One commit of a store that is one text, in a transaction that holds the lock: a change (\`p_changes\`), or the text as a whole
 * (\`p_image\`), or both, or (without \`p_advances\`) the text with all changes so far; and what is kept beside it (\`p_notes\`). Whoever knows the text before at least learns
 * the rest from the units, so those since that one are kept.
 *
 * What it answers is as with \`put\`: 0 done; 2 anything has changed; 3 there is no such store.
 */
const PUT_TEXT = `
create or replace function pslock.put_text(
  p_store int, p_incarnation uuid, p_known bigint, p_changes text, p_image text, p_advances boolean,
  p_note_keys text[], p_notes text[], p_client bigint, p_number bigint, out o_status int, out o_seq bigint
) language plpgsql volatile as $put_text$
#variable_conflict use_column
declare
  v_floor bigint;
begin
  select seq into o_seq from pslock.store where id = p_store;
  if o_seq is null then
    o_status := 3;
    return;
  end if;
  if o_seq <> p_known or not exists (select from pslock.incarnation where id = p_incarnation) then
    o_status := 2;
    return;
  end if;
  o_status := 0;
  if p_advances then
    o_seq := o_seq + 1;
  end if;
  if p_changes is not null then
    insert into pslock.unit (store, seq, changes) values (p_store, o_seq, p_changes);
  end if;
  if p_image is not null then
    if p_advances and p_changes is null then
      v_floor := o_seq;
    else
      select seq into v_floor from pslock.image where store = p_store;
    end if;
    delete from pslock.unit where store = p_store and seq <= v_floor;
    insert into pslock.image (store, seq, text) values (p_store, o_seq, p_image)
      on conflict (store) do update set seq = excluded.seq, text = excluded.text;
  end if;
  if cardinality(p_note_keys) > 0 then
    insert into pslock.doc (store, key, seq, line)
      select p_store, u.key, o_seq, u.line from unnest(p_note_keys, p_notes) u(key, line)
      on conflict (store, key) do update set seq = excluded.seq, line = excluded.line;
  end if;
  update pslock.store set seq = o_seq, floor = coalesce(v_floor, floor) where id = p_store;
  update pslock.client set number = p_number, at = now() where id = p_client;
  if not found then
    insert into pslock.client (id, number) values (p_client, p_number);
  end if;
end $put_text$;`

/**
 * The store of a name, made where there is none, and who this process is among its clients: a number that nobody else has. Of a sequence
 * it could come again, which goes back in a crash, and when a standby takes over that is behind.
 */
const OPEN = `
create or replace function pslock.open(p_name text, p_kind text, out o_id int, out o_kind text, out o_client bigint)
language plpgsql volatile as $open$
begin
  select id, kind into o_id, o_kind from pslock.store where name = p_name;
  if o_id is null then
    insert into pslock.store (name, kind) values (p_name, p_kind) on conflict do nothing;
    select id, kind into o_id, o_kind from pslock.store where name = p_name;
  end if;
  o_client := ('x' || left(replace(gen_random_uuid()::text, '-', ''), 15))::bit(60)::bigint;
  delete from pslock.client where at < now() - interval '7 days';
end $open$;
create or replace function pslock.turn(
  p_store int, p_every float8, p_ahead float8, p_limit float8
) returns float8 language plpgsql volatile as $turn$
declare
  v_next float8;
  v_now float8;
  v_wait float8;
begin
  insert into pslock.pace (store) values (p_store) on conflict do nothing;
  select next into v_next from pslock.pace where store = p_store for update;
  v_now := extract(epoch from clock_timestamp()) * 1000;
  v_next := greatest(v_next, v_now);
  v_wait := greatest(0, v_next - p_ahead - v_now);
  if v_wait <= p_limit then
    update pslock.pace set next = v_next + p_every where store = p_store;
  end if;
  return v_wait;
end $turn$;
create or replace function pslock.incarnate() returns uuid language sql volatile as $incarnate$
  insert into pslock.incarnation (id) values (gen_random_uuid()) on conflict do nothing;
  select id from pslock.incarnation;
$incarnate$;`

/** Makes it all, as one query, and so one transaction. Several processes may come with it at the same time. */
export const SCHEMA: string = `
do $pslock$
begin
  perform pg_advisory_xact_lock(${STORE_LOCKS}, 0);
  if to_regclass('pslock.version') is not null then
    return;
  end if;
  ${TABLES}
  ${[PUT, PUT_TEXT, REPLACE, OPEN].map((text) => `execute $outer$${text}$outer$;`).join('\n')}
end $pslock$`
