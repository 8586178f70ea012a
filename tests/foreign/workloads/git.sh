#!/bin/sh
# A small life of a repository. Times are fixed, and older than the index, so that git need not look into files twice.
set -e
old='2020-01-01 00:00:00 +0000'
git init -q -b main repository
cd repository
mkdir source
for number in 1 2 3 4 5; do
    echo "file $number" > source/$number
    touch -d "$old" source/$number
done
git add .
git commit -q -m first
git checkout -q -b side
echo more > source/1
touch -d "$old" source/1
git commit -q -a -m side
git checkout -q main
echo other > source/2
touch -d "$old" source/2
git add -A
git commit -q -m main
git merge -q -m merged side
git branch -d side > /dev/null
git tag -a -m release v1
git log --oneline --stat > /dev/null
git diff HEAD~1 > /dev/null
git gc -q
git clone -q . ../clone
git -C ../clone log > /dev/null
git fsck --no-progress
