#!/bin/sh
# Pipelines, redirections, odd names, every call on paths that a shell's usual programs make, and things that fail.
set -u
mkdir -p one/two 'sp ace'
printf 'b\na\nc\n' > one/list
sort < one/list | uniq -c | tr a-z A-Z | cat > one/sorted
cat one/list one/absent 2> errors | wc -l >> one/sorted
name=$(printf 'bytes\377 "quoted" <angle> new\nline\ttab')
echo data > "sp ace/$name"
cat < "sp ace/$name" > /dev/null
cp one/list one/two/copy
mv one/two/copy one/two/moved
ln one/two/moved one/hard
ln -s two/moved one/soft
cat one/soft one/../one/./soft > /dev/null
chmod 600 one/soft
truncate -s 10 one/hard
mkdir one/empty && rmdir one/empty
rmdir one absent 2> /dev/null
rm one/hard
ln -s one link
cd link || exit 1
echo relative > here
mkdir below
mv here below/there
rmdir below 2> /dev/null
(cd two && rm moved && : > new && chmod 755 new)
cd ..
cat <<END | grep -c line
line one
line two
END
printf '#!/bin/sh\necho "$0 $#"\n' > script
chmod +x script
./script 'an argument' '' "$(printf 'x\ny')" > /dev/null
/bin/sh ./script > /dev/null
no-such-command 2> /dev/null
./one 2> /dev/null
sh -c 'kill -KILL $$' 2> /dev/null
echo a b c | while read -r first rest; do echo "$rest" > "$first"; done
for number in 1 2 3; do echo $number; done | tee copy | tail -n 1 > last
find . -name 'l*' -exec ls -d {} + > found
tar cf archive.tar one && mkdir out && tar xf archive.tar -C out
rm -rf out one
exit 0
